"""Every command in a file of its own.

To add one, write the file. The file `train_prior.py` is the command `train-prior`. It holds

- `Config`: its settings, a frozen model whose fields are the flags;
- `OPERANDS`: the fields that paths without a flag fill, in this order; one that ends in `...`
  takes what the others leave; `config` is the file that others take as `--config`;
- `SUMMARY` and `EXAMPLE`: what it does, and lines one can paste, each of at most 80 characters;
- `files(config)`: what it reads and writes, for `--dry-run`;
- `run(config)`: does it. Its result has a field `failed`, (subject, message) each, where what
  fails does not stop the rest.

`--help` imports all of them, so what is slow to import is imported inside functions.
"""

from __future__ import annotations

from pkgutil import iter_modules

NAMES = tuple(module.name.replace("_", "-") for module in iter_modules(__path__))
