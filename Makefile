# CaptionLab. `make` alone lists what there is to make.
# The environment lives in .venv and is made when a target needs it. Settings: PYTHON=…, INSTALLER=pip, WHEELS=folder.

BIN := .venv/bin
DONE := .venv/.installed
# The first interpreter that is new enough; 3.11 and 3.12 are the tested ones.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# uv installs in a fraction of pip's time; pip stays as the way out when uv cannot reach the package index.
INSTALLER ?= uv
# A folder of wheels, as `make offline-bundle` makes it, in place of a package index.
WHEELS ?=
FROM := $(if $(WHEELS),--no-index --find-links $(abspath $(WHEELS)))
# JupyterLab refuses root without being told, as in containers.
ROOT_FLAG := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help .venv course lab chat test clean release grade offline-bundle

help:
	@echo "make course   the whole course on the tiny profile: draw, label, train, describe, score; report in results/"
	@echo "make lab      JupyterLab on notebooks/; EDITION=zh: their text in Chinese"
	@echo "make chat     the chat notebook as a web page on 127.0.0.1"
	@echo "make test     every test, then every notebook"
	@echo "make .venv    the environment alone, exact versions"
	@echo "make release  the students' edition of the notebooks, without solutions, in release/"
	@echo "make grade SUBMISSIONS=folder   mark a class: SUBMISSIONS/STUDENT/NN_name.ipynb; this runs the students' code"
	@echo "make offline-bundle   a folder for a stick, from which laptops install without a network"
	@echo "make clean    remove what runs made; .venv and paid labels stay"

.venv: $(DONE)

# .installing stands while an installation is under way: one that was killed starts from nothing, not from halves.
# .installed is written last. The import at the end proves the installation and lets Python compile what the course
# will load, so that the first command is as quick as the second.
$(DONE): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "error: no Python 3.11 or newer found; install one, or name it: make .venv PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@if [ -e .venv/.installing ] || ! { [ ! -e .venv ] || .venv/bin/python -c ''; } 2>/dev/null; then echo "removing an unfinished .venv"; rm -rf .venv; fi
	@echo "making .venv with $(PYTHON) $(if $(WHEELS),from $(WHEELS) (7 GB on disk),(a download of 3 GB the first time, 7 GB on disk))"
	@mkdir -p .venv && touch .venv/.installing
	@if [ ! -x $(BIN)/pip ]; then $(PYTHON) -m venv .venv; fi
	@if [ "$(INSTALLER)" = uv ] && $(BIN)/pip install --quiet $(FROM) --constraint constraints.txt uv; then \
		index="$$($(BIN)/pip config get :env:.index-url 2>/dev/null || $(BIN)/pip config get global.index-url 2>/dev/null || true)"; \
		if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
		$(BIN)/uv pip install $(if $(FROM),--offline $(FROM)) --python $(BIN)/python --constraint constraints.txt --editable '.[test]' \
		|| { echo "uv did not succeed; trying pip"; $(BIN)/pip install --progress-bar off $(FROM) --constraint constraints.txt --editable '.[test]'; }; \
	else \
		$(BIN)/pip install --progress-bar off $(FROM) --constraint constraints.txt --editable '.[test]'; \
	fi
	@echo "checking that everything loads"
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -W ignore -c 'from helpers import environment; environment.load_everything()'
	@rm -f .venv/.installing
	@touch $(DONE)
	@echo "done: .venv is ready"

course: $(DONE)
	@echo "the whole course on the tiny profile; killed, it continues where it stopped"
	@$(BIN)/captionlab course

# make lab EDITION=zh builds the notebooks with their text in Chinese into notebooks-zh/, beside a student's own changes there, and opens that.
LAB_DIR := notebooks$(if $(filter-out en,$(EDITION)),-$(EDITION))
lab: $(DONE)
	@$(if $(filter-out en,$(EDITION)),$(BIN)/captionlab edition --language $(EDITION))
	@echo "JupyterLab on $(LAB_DIR)/; stop it with Ctrl-C"
	@$(BIN)/jupyter lab --notebook-dir=$(LAB_DIR) $(ROOT_FLAG)

# make chat IP=0.0.0.0 serves other machines too, who need the address with the token that it prints. PORT=…, VISITORS=…
chat: $(DONE)
	@echo "serving the chat; stop it with Ctrl-C"
	@$(BIN)/captionlab chat $(if $(IP),--ip $(IP)) $(if $(PORT),--port $(PORT)) $(if $(VISITORS),--visitors $(VISITORS))

# make test JOBS=1 runs one test after the other; a file of tests, and a notebook, is always run by one process.
test: $(DONE)
	@echo "tests of every helper and every notebook"
	@$(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile

release: $(DONE)
	@$(BIN)/captionlab release --out $(or $(OUT),release)

# GRADES=file for the marks (default: marks.csv among the submissions), TIMEOUT=seconds for one cell
grade: $(DONE)
	@if [ -z "$(SUBMISSIONS)" ]; then echo "error: name the folder of the submissions: make grade SUBMISSIONS=folder" >&2; exit 1; fi
	@$(BIN)/captionlab grade --submissions "$(SUBMISSIONS)" $(if $(GRADES),--output "$(GRADES)") $(if $(TIMEOUT),--timeout $(TIMEOUT)) \
		$(if $(KEEP),--keep "$(KEEP)")

# Takes 3 GB and some minutes. OUT=folder, WEIGHTS=folder or hub id of a model that goes along.
offline-bundle: $(DONE)
	@OUT="$(OUT)" WEIGHTS="$(WEIGHTS)" bash scripts/offline_bundle.sh

# Labels may have cost money: stores (*.sqlite) stay wherever they are.
clean:
	@echo "removing results/, finetune/data/, finetune/output/ and caches; .venv and label stores (*.sqlite) stay"
	@for d in results finetune/data finetune/output; do \
		if [ -d $$d ]; then find $$d -type f ! -name '*.sqlite*' -delete; find $$d -depth -type d -empty -delete; fi; done
	@find helpers tests notebooks finetune -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -rf .pytest_cache build *.egg-info notebooks/.ipynb_checkpoints
