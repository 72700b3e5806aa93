"""The tables: prompts, samples and questions as they were asked, and judgements, which are only ever added."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKeyConstraint, Index, Integer, MetaData, String, Table, Text

REVISION = "0001"
"""The newest migration; a database that is already there is opened without loading Alembic."""

metadata = MetaData()

prompts = Table(
    "prompts",
    metadata,
    Column("project", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("content", JSON, nullable=False),
    Column("meta", JSON, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    Column("project", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("prompt", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("finish", String, nullable=False),
    Column("model", String, nullable=False),
    Column("seed", Integer, nullable=False),
    ForeignKeyConstraint(["project", "prompt"], ["prompts.project", "prompts.id"]),
)

questions = Table(
    "questions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the order in which they are handed out
    Column("id", String, nullable=False, unique=True),
    Column("project", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("prompt", String, nullable=False),
    Column("candidates", JSON, nullable=False),
    Column("aspects", JSON, nullable=False),
    Column("scale", JSON, nullable=False),
    Column("probability", Float, nullable=False),
    Column("overlap", Integer, nullable=False),
    Column("created", Float, nullable=False),
    ForeignKeyConstraint(["project", "prompt"], ["prompts.project", "prompts.id"]),
    Index("questions_by_project", "project", "number"),
)

raters = Table(
    "raters",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),  # person, simulated, imported, judge
    Column("created", Float, nullable=False),
)

judgements = Table(
    "judgements",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # later rows supersede earlier ones
    Column("id", String, nullable=False, unique=True),
    Column("question", String, nullable=False),
    Column("rater", String, nullable=False),
    Column("ranks", JSON, nullable=False),
    Column("scores", JSON, nullable=False),
    Column("shown", JSON, nullable=False),
    Column("both_bad", Boolean, nullable=False),
    Column("strength", Integer, nullable=False),
    Column("comment", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("rubric", String, nullable=False),
    Column("withdrawn", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    ForeignKeyConstraint(["question"], ["questions.id"]),
    ForeignKeyConstraint(["rater"], ["raters.id"]),
    Index("judgements_by_question", "question", "rater", "number"),
)

leases = Table(
    "leases",
    metadata,
    Column("question", String, primary_key=True),
    Column("rater", String, primary_key=True),
    Column("expires", Float, nullable=False),
    ForeignKeyConstraint(["question"], ["questions.id"]),
)
