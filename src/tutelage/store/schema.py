"""The tables: prompts, samples and questions as they were asked, and judgements, which are only ever added.

questions ◄─ handouts (who was ever shown what) ◄─ leases (until when) ─► judgements · skips
    ◄─ tasks (each time a rater is given one, and why)                      admissions (who passed the quiz)
raters ◄─ accounts ◄─ sessions ◄─ invitations          projects ◄─ settings · rubrics (versions)          audit
batches ◄─ batch_items ─► questions (what training waits for)
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    true,
)

REVISION = "0007"
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
    Column("checkpoint", String, nullable=False, server_default=""),  # `Sample.checkpoint`, of who wrote it first
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
    Column("purpose", String, nullable=False, server_default=""),  # "gold": its answer is known, nobody is told
    Column("given", Integer, nullable=False, server_default="0"),  # judgements that count; kept by `standing`
    Column("open", Boolean, nullable=False, server_default=true()),  # wants more; kept by `standing.settle`
    Column("place", Float, nullable=False, server_default="1e9"),  # handed out in this order, then by number
    Column("arm", String, nullable=False, server_default=""),  # "random", "active": how `rate select` chose it
    ForeignKeyConstraint(["project", "prompt"], ["prompts.project", "prompts.id"]),
    Index("questions_by_project", "project", "number"),
    Index("questions_open", "project", "open", "place", "number"),
    Index("questions_by_purpose", "project", "purpose", "given"),
    Index("questions_by_kind", "project", "kind"),
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
    Column("edit", Text, nullable=False, server_default=""),
    Column("flags", JSON, nullable=False, server_default="[]"),
    Column("confirmed", Boolean, nullable=False, server_default=false()),
    Column("extra", Boolean, nullable=False, server_default=false()),  # beyond the overlap when it came
    Column("models", JSON, nullable=False, server_default="[]"),  # who wrote each candidate (`Sample.model`)
    Column("checkpoints", JSON, nullable=False, server_default="[]"),  # the same of weights; [] = of none it is known
    Column("probability", Float, nullable=False, server_default="1"),  # with which the question was selected
    Column("purpose", String, nullable=False, server_default=""),  # "gold", "quiz", "repeat": checks the rater only
    ForeignKeyConstraint(["question"], ["questions.id"]),
    ForeignKeyConstraint(["rater"], ["raters.id"]),
    Index("judgements_by_question", "question", "rater", "number"),
    Index("judgements_by_rater", "rater", "created"),
)

leases = Table(
    "leases",
    metadata,
    Column("question", String, primary_key=True),
    Column("rater", String, primary_key=True),
    Column("expires", Float, nullable=False),
    Column("purpose", String, nullable=False, server_default=""),  # as in `tasks`
    ForeignKeyConstraint(["question"], ["questions.id"]),
)

tasks = Table(  # only ever added: one row for each time a rater is given a question; its number is all that they see
    "tasks",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("project", String, nullable=False),
    Column("question", String, nullable=False),
    Column("rater", String, nullable=False),
    Column("purpose", String, nullable=False),  # "" to be learned from, "gold", "quiz", "repeat"
    Column("created", Float, nullable=False),
    ForeignKeyConstraint(["question"], ["questions.id"]),
    Index("tasks_by_question", "question", "rater", "purpose", unique=True),
    Index("tasks_of_rater", "project", "rater", "purpose", "number"),
)

admissions = Table(  # the newest row of a rater in a project is in force: how the quiz ended, or what an admin decided
    "admissions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("project", String, nullable=False),
    Column("rater", String, nullable=False),
    Column("admitted", Boolean, nullable=False),
    Column("right", Integer, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("actor", String, nullable=False),
    Column("created", Float, nullable=False),
    Index("admissions_by_rater", "project", "rater", "number"),
)

handouts = Table(  # only ever added: nobody can judge what was never handed to them
    "handouts",
    metadata,
    Column("question", String, primary_key=True),
    Column("rater", String, primary_key=True),
    Column("rubric", Integer, primary_key=True, autoincrement=False),  # its version, as the rater saw it
    Column("created", Float, nullable=False),
    ForeignKeyConstraint(["question"], ["questions.id"]),
)

skips = Table(
    "skips",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("question", String, nullable=False),
    Column("rater", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("purpose", String, nullable=False, server_default=""),  # as in `tasks`
    ForeignKeyConstraint(["question"], ["questions.id"]),
    Index("skips_by_question", "question", "rater"),
)

frontiers = Table(  # where the search for a rater's next question begins; kept by `frontier`
    "frontiers",
    metadata,
    Column("project", String, primary_key=True),
    Column("rater", String, primary_key=True),
    Column("place", Float, nullable=False),
    Column("number", Integer, nullable=False),
)

tallies = Table(  # the sum of `questions.given` of each project; kept by `standing`
    "tallies",
    metadata,
    Column("project", String, primary_key=True),
    Column("given", Integer, nullable=False),
)

settings = Table(  # the newest row of a project is in force
    "settings",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("project", String, nullable=False),
    Column("content", JSON, nullable=False),
    Column("actor", String, nullable=False),
    Column("created", Float, nullable=False),
    Index("settings_by_project", "project", "number"),
)

rubrics = Table(
    "rubrics",
    metadata,
    Column("project", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("content", JSON, nullable=False),  # guidelines in each language, aspects with their anchors
    Column("actor", String, nullable=False),
    Column("created", Float, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("rater", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),  # admin, rater
    Column("language", String, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    ForeignKeyConstraint(["rater"], ["raters.id"]),
)

members = Table(
    "members",
    metadata,
    Column("project", String, primary_key=True),
    Column("rater", String, primary_key=True),
    Column("created", Float, nullable=False),
    ForeignKeyConstraint(["rater"], ["accounts.rater"]),
)

invitations = Table(
    "invitations",
    metadata,
    Column("digest", String, primary_key=True),  # of the token, which is shown once and stored nowhere
    Column("project", String, nullable=False),
    Column("role", String, nullable=False),
    Column("name", String, nullable=False),
    Column("rater", String, nullable=False),  # whom it signs in; empty until it is used for the first time
    Column("language", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("used", Float),
    Column("revoked", Float),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", String, primary_key=True),
    Column("rater", String, nullable=False),
    Column("project", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("ended", Float),
    ForeignKeyConstraint(["rater"], ["accounts.rater"]),
    Index("sessions_by_rater", "rater"),
)

exclusions = Table(  # the newest row of a rater in a project is in force; exports say which held
    "exclusions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("project", String, nullable=False),
    Column("rater", String, nullable=False),
    Column("excluded", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", String, nullable=False),
    Column("created", Float, nullable=False),
    Index("exclusions_by_project", "project", "rater", "number"),
)

batches = Table(  # answers that training waits for; open → quorum | deadline → consumed, or cancelled
    "batches",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),  # derived from run, step and answers
    Column("project", String, nullable=False),
    Column("run", String, nullable=False),
    Column("step", Integer, nullable=False),
    Column("kind", String, nullable=False),  # scores, pair
    Column("wanted", Integer, nullable=False),  # judgements of each answer
    Column("late", String, nullable=False),  # what becomes of it at the deadline
    Column("state", String, nullable=False),
    Column("seen", Integer, nullable=False),  # number of the newest judgement when it was posted
    Column("created", Float, nullable=False),
    Column("deadline", Float),
    Column("closed", Float),
    Column("checkpoint", String, nullable=False, server_default=""),  # of the weights that wrote its answers
    Index("batches_by_project", "project", "state"),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch", String, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("question", String),  # none: enough was known of the answer
    Column("used", JSON),  # ids of the judgements it was settled by; none before it is closed
    Column("fallback", Float),  # what a model said where people did not
    ForeignKeyConstraint(["batch"], ["batches.id"]),
    ForeignKeyConstraint(["question"], ["questions.id"]),
    Index("batch_items_by_question", "question"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("before", JSON),
    Column("after", JSON),
    Column("created", Float, nullable=False),
)

APPEND_ONLY = (
    "judgements", "handouts", "skips", "settings", "rubrics", "exclusions", "audit", "tasks", "admissions",
)  # fmt: skip
"""Tables whose rows are never changed nor deleted; on SQLite triggers see to that."""
