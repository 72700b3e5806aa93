"""Measuring models: text metrics, preference accuracy, blind win rate, the score-against-KL frontier, the report."""
