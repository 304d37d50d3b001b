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

CREATE TABLE measurement (
  trial INTEGER NOT NULL REFERENCES trial (id),
  step INTEGER NOT NULL,
  tensor TEXT NOT NULL,
  quantity TEXT NOT NULL,
  value REAL,
  PRIMARY KEY (trial, step, tensor, quantity)
) STRICT, WITHOUT ROWID;
