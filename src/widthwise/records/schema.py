"""The schema of a study's store: one SQLite file, STRICT tables, readable with nothing but SQLite.

study        what was asked for: the spec, the corpus' hash, and the width that rates are relative to
host         each machine and process that worked on it
arm          one prescription of the spec, with what theory predicts for it
trial        one training run; its identity is the hash of its recipe, its recipe all that it is trained from
cell         a named point of the study (arm, width, rate, seed) and the trial that serves it
population   trials trained side by side; one that does not fit on a device is split: its trials go on as populations
             of their own, which name it as `split_from`, but for those that had ended by then; in how many pieces a
             step's batch runs, and whether blocks are recomputed
composition  the members of a population from a step on: revision 0 before it starts, later ones for every change, each
             before it takes effect; a revision stands for all from its step on, whatever stood there before
sweep        for an arm whose rates are planned while the study runs: where each width's search stands
proposal     constants that a search has proposed for an arm, and the trial that tries them; `phase` counts its ranges
round        each planning of such rates, written with its trials and populations; what was asked of their size
curve        training loss over steps
layer        the layers of each width whose alignment is measured, with their roles and fan-ins
alignment    the log gains of a trial's layer over steps, natural logarithms, NULL where undefined; `since` says what
             the changes dW and dz are counted from, and `product` is that of W z itself

    SELECT step, name, exp(alpha), exp(omega), exp(u) FROM alignment JOIN layer ON layer.id = layer
    WHERE trial = 1 AND since = 'start' ORDER BY name, step
"""

APPLICATION_ID = 0x77777365
"""Marks a SQLite file as a store of this package ("wwse")."""
SCHEMA_VERSION = 3
"""1: populations could not be split, and a trial's recipe did not say when a finite loss counts as divergence.
2: nothing was measured in training; a table `measurement` of one number a row stood empty; no rates were planned."""

_TABLES = """
CREATE TABLE study (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  name TEXT NOT NULL,
  spec TEXT NOT NULL,
  corpus TEXT NOT NULL,
  base_width INTEGER NOT NULL,
  created TEXT NOT NULL
) STRICT;

CREATE TABLE host (
  id INTEGER PRIMARY KEY,
  started TEXT NOT NULL,
  facts TEXT NOT NULL
) STRICT;

CREATE TABLE arm (
  name TEXT PRIMARY KEY,
  position INTEGER NOT NULL UNIQUE,
  parameterization TEXT NOT NULL,
  prescription TEXT NOT NULL,
  optimizer TEXT NOT NULL,
  predicted_full TEXT NOT NULL,
  predicted_none TEXT NOT NULL
) STRICT;

CREATE TABLE trial (
  id INTEGER PRIMARY KEY,
  identity TEXT NOT NULL UNIQUE,
  recipe TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'diverged', 'failed')),
  reason TEXT,
  step INTEGER,
  validation_loss REAL,
  CHECK ((status = 'completed') = (validation_loss IS NOT NULL)),
  CHECK ((status IN ('diverged', 'failed')) = (reason IS NOT NULL))
) STRICT;

CREATE TABLE cell (
  arm TEXT NOT NULL REFERENCES arm (name),
  width INTEGER NOT NULL,
  learning_rate REAL NOT NULL,
  seed INTEGER NOT NULL,
  trial INTEGER NOT NULL REFERENCES trial (id),
  PRIMARY KEY (arm, width, learning_rate, seed)
) STRICT, WITHOUT ROWID;
CREATE INDEX cell_trial ON cell (trial);

CREATE TABLE population (
  id INTEGER PRIMARY KEY,
  status TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'split')),
  host INTEGER REFERENCES host (id),
  seconds REAL,
  split_from INTEGER REFERENCES population (id) CHECK (split_from < id),
  micro_batches INTEGER NOT NULL CHECK (micro_batches >= 1),
  recompute INTEGER NOT NULL CHECK (recompute IN (0, 1)),
  CHECK ((status = 'completed') = (seconds IS NOT NULL))
) STRICT;

CREATE TABLE composition (
  population INTEGER NOT NULL REFERENCES population (id),
  revision INTEGER NOT NULL,
  position INTEGER NOT NULL,
  from_step INTEGER NOT NULL,
  trial INTEGER NOT NULL REFERENCES trial (id),
  PRIMARY KEY (population, revision, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE curve (
  trial INTEGER NOT NULL REFERENCES trial (id),
  step INTEGER NOT NULL,
  loss REAL NOT NULL,
  PRIMARY KEY (trial, step)
) STRICT, WITHOUT ROWID;

"""
_ALIGNMENT = """
CREATE TABLE layer (
  id INTEGER PRIMARY KEY,
  width INTEGER NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  fan_in INTEGER NOT NULL,
  UNIQUE (width, name)
) STRICT;

CREATE TABLE alignment (
  trial INTEGER NOT NULL REFERENCES trial (id),
  layer INTEGER NOT NULL REFERENCES layer (id),
  since TEXT NOT NULL CHECK (since IN ('start', 'update')),
  step INTEGER NOT NULL,
  alpha REAL,
  omega REAL,
  u REAL,
  product REAL,
  PRIMARY KEY (trial, layer, since, step)
) STRICT, WITHOUT ROWID;
"""
_SWEEPS = """
CREATE TABLE sweep (
  arm TEXT NOT NULL REFERENCES arm (name),
  width INTEGER NOT NULL,
  outcome TEXT,
  best REAL,
  reason TEXT NOT NULL,
  done INTEGER NOT NULL CHECK (done IN (0, 1)),
  PRIMARY KEY (arm, width),
  CHECK (outcome IS NOT NULL OR (best IS NULL AND done = 0))
) STRICT, WITHOUT ROWID;

CREATE TABLE proposal (
  arm TEXT NOT NULL REFERENCES arm (name),
  number INTEGER NOT NULL,
  phase INTEGER NOT NULL,
  embedding REAL NOT NULL CHECK (embedding > 0),
  hidden REAL NOT NULL CHECK (hidden > 0),
  readout REAL NOT NULL CHECK (readout > 0),
  learning_rate REAL NOT NULL,
  trial INTEGER NOT NULL REFERENCES trial (id),
  PRIMARY KEY (arm, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE round (
  id INTEGER PRIMARY KEY,
  members INTEGER CHECK (members >= 1),
  minutes REAL CHECK (minutes > 0)
) STRICT;
"""
_SIZES = """
CREATE TABLE tensor (
  id INTEGER PRIMARY KEY,
  width INTEGER NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  UNIQUE (width, name)
) STRICT;

CREATE TABLE size (
  trial INTEGER NOT NULL REFERENCES trial (id),
  tensor INTEGER NOT NULL REFERENCES tensor (id),
  step INTEGER NOT NULL,
  gradient REAL,
  weight REAL,
  change REAL,
  input REAL,
  input_change REAL,
  output REAL,
  output_change REAL,
  PRIMARY KEY (trial, tensor, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE spread (
  trial INTEGER NOT NULL REFERENCES trial (id),
  tensor INTEGER NOT NULL REFERENCES tensor (id),
  step INTEGER NOT NULL,
  magnitude TEXT NOT NULL CHECK (magnitude IN ('gradient', 'sqrt v')),
  scale REAL NOT NULL,
  zeros INTEGER NOT NULL,
  first INTEGER NOT NULL,
  counts TEXT NOT NULL,
  PRIMARY KEY (trial, tensor, step, magnitude)
) STRICT, WITHOUT ROWID;
"""
"""Added to version 3 without another number, since whoever reads a store without them loses nothing."""
SCHEMA = _TABLES + _ALIGNMENT + _SWEEPS + _SIZES
UPGRADES = {2: f"DROP TABLE IF EXISTS measurement; {_ALIGNMENT}{_SWEEPS}{_SIZES} PRAGMA user_version = 3;"}
"""Version -> what makes a store of it one of the next; the last one makes what `SCHEMA` makes."""
