# Everything a newcomer types. All of it uses .venv/ in this folder; outside it only Prefect keeps
# a database of its own, in ~/.prefect (make serve).
# Works with LANG=C and with make 3.81 (macOS).

SHELL := /bin/sh
BIN := .venv/bin
export PYTHONUTF8 := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
MIN_FREE_GIB := 6

# Tests of compiled functions, run once more as plain Python so that their lines are counted.
COMPILED_TESTS := $(wildcard tests/unit/simulation tests/unit/allocation tests/unit/risk \
	tests/unit/execution tests/unit/test_ensemble.py tests/unit/models tests/unit/backtest)

.DEFAULT_GOAL := help
.PHONY: help check setup demo test test-slow lint serve mlflow dashboard chaos bench feed soak fuzz conformance compare-peers

help:
	@printf '%s\n' \
	  'make demo    기록된 시장 자료로 하루 전체를 사흘 동안 돌려 봅니다 (키 필요 없음)' \
	  'make test    린트, 형식, 타입, 구조, 테스트를 모두 검사합니다' \
	  'make test-slow  오래 걸리는 테스트 (스무 시작일, 한국 기록 재생)' \
	  'make chaos   강제 종료와 장애 속에서 시드 1,000개를 돌려 두 장부를 견줍니다 (DATASET=폴더: 한국 시장도)' \
	  'make bench   실시간 경로, 판단, 위험, 비중, 학습과 (DATASET=폴더) 자료 저장소의 속도를 같은 실행 안의 기준과 비교합니다' \
  'make feed    40종목 초당 2,000건을 흘려 보내며 손실과 증가를 봅니다 (SECONDS=600, DATASET=폴더)' \
	  'make soak    기록된 60거래일을 장애 속에서 이어 돌리며 늘어나는 것을 봅니다 (SESSIONS=60, SEED=1)' \
  'make fuzz    실시간 자료와 응답의 해석기를 망가진 입력으로 두드립니다 (SECONDS=600)' \
  'make conformance  다른 이가 만든 KIS 클라이언트를 로컬 거래소에서 시험합니다 (DATASET=폴더)' \
  'make compare-peers  다른 백테스터와 체결과 평가금액을 견줍니다 (처음에는 설치에 몇 분)' \
  'make lint    린트, 형식, 타입, 구조만 검사합니다' \
	  'make serve   Prefect 서버와 작업자를 띄우고 배포합니다 (http://127.0.0.1:4200)' \
	  'make mlflow  MLflow 화면을 띄웁니다 (http://127.0.0.1:5000)' \
	  'make dashboard  계좌, 주문, 위험, 로그를 보는 화면을 띄웁니다 (http://127.0.0.1:8501)'

# One sentence each, before anything is made.
check:
	@if [ "$$(uname -s)" != Linux ] && [ "$$(uname -s)" != Darwin ]; then \
	  echo '지원하지 않는 운영체제입니다: Linux, macOS 또는 Windows의 WSL2에서 실행해 주세요.'; exit 2; fi
	@if [ ! -w . ]; then \
	  echo '이 폴더에 쓸 수 없습니다: 쓰기 권한이 있는 폴더에서 실행해 주세요.'; exit 2; fi
	@if [ ! -x $(BIN)/python ]; then \
	  $(find_python); \
	  if [ -z "$$found" ]; then \
	    echo 'Python 3.11-3.13이 필요합니다: 설치한 뒤 make PYTHON=/경로/python3 로 알려 주세요.'; exit 2; fi; \
	  if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo 'Python의 venv 모듈이 없습니다: 예를 들어 sudo apt install python3-venv 로 설치해 주세요.'; exit 2; fi; \
	  free=$$(df -Pk . | awk 'NR==2 {print int($$4/1048576)}'); \
	  if [ "$$free" -lt $(MIN_FREE_GIB) ]; then \
	    echo "디스크 공간이 부족합니다: $(MIN_FREE_GIB) GiB가 필요한데 $$free GiB 남았습니다."; exit 2; fi; \
	fi

find_python = found=''; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if command -v $$candidate >/dev/null 2>&1 && \
	     $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	  then found=$$candidate; break; fi; done

# The environment is made once; pip runs again only when pyproject.toml has changed.
setup: check
	@if [ ! -x $(BIN)/python ] || ! $(BIN)/python -c '' 2>/dev/null; then \
	  $(find_python); \
	  echo "[1/2] 가상 환경을 만듭니다: .venv ($$found)"; \
	  "$$found" -m venv --clear .venv || exit 2; fi
	@if ! cmp -s pyproject.toml .venv/installed.toml; then \
	  echo '[2/2] 필요한 패키지를 설치합니다. 처음에는 몇 분 걸립니다.'; \
	  : > .venv/install.log; \
	  $(BIN)/python -u -m pip install -e '.[test]' >> .venv/install.log 2>&1 & installer=$$!; \
	  while kill -0 $$installer 2>/dev/null; do \
	    doing=; if grep -q '^Installing collected' .venv/install.log; then doing=', 설치하는 중'; fi; \
	    printf '\r      받은 패키지 %s개%s ' \
	      "$$(grep -c '^Collecting' .venv/install.log)" "$$doing"; sleep 2; done; echo; \
	  if ! wait $$installer; then tail -n 15 .venv/install.log; \
	    echo '패키지를 설치하지 못했습니다: 인터넷 연결을 확인한 뒤 다시 실행해 주세요 (.venv/install.log).'; \
	    exit 2; fi; \
	  cp pyproject.toml .venv/installed.toml; fi

demo: setup
	@$(BIN)/trading demo --sessions 3

# Stopped and started again, it goes on with the seeds that are left.
chaos: setup
	@$(BIN)/trading chaos --seeds $(or $(SEEDS),1000) $(if $(DATASET),--dataset $(DATASET))

lint: setup
	@echo '[1/4] 린트';      $(BIN)/ruff check .
	@echo '[2/4] 형식';      $(BIN)/ruff format --check .
	@echo '[3/4] 타입';      $(BIN)/mypy
	@echo '[4/4] 구조';      $(BIN)/lint-imports

# Numba compiles with one core, once for all that follows, while the sources are looked at with another.
# The short run without compilation comes next, so that pytest's summary is the last line.
test: setup
	@rm -f .coverage .coverage.*
	@folder=$$(mktemp -d); \
	$(BIN)/trading --root "$$folder" backtest ensemble --from 2004-01-02 --to 2004-03-31 \
	  > "$$folder/said" 2>&1 & compiler=$$!; \
	$(MAKE) --no-print-directory lint || { kill $$compiler 2> /dev/null; rm -rf "$$folder"; exit 2; }; \
	wait $$compiler || { cat "$$folder/said"; rm -rf "$$folder"; exit 2; }; rm -rf "$$folder"
	@if [ -n "$(strip $(COMPILED_TESTS))" ]; then \
	  echo '[5/6] 컴파일되는 함수의 테스트 (컴파일 없이)'; \
	  NUMBA_DISABLE_JIT=1 $(BIN)/pytest $(COMPILED_TESTS) -n 2 --cov --cov-report= --cov-fail-under=0; fi
	@echo '[6/6] 전체 테스트'
	@$(BIN)/pytest -n 2 --dist worksteal --cov --cov-append --cov-report=term:skip-covered --cov-fail-under=80

test-slow: setup
	@$(BIN)/pytest tests -m slow -s

# Every table is shown; a promise that is not kept in any of them ends with 1. What the peers need
# is installed beside the rest the first time.
bench: setup
	@$(BIN)/python -c 'import skfolio, stable_baselines3' 2>/dev/null || { echo '비교할 라이브러리를 설치합니다: skfolio, stable-baselines3'; \
	  $(BIN)/python -m pip install -q -e '.[bench]' || exit 2; }
	@kept=0; for table in bench decide allocation risk learn dqn; do \
	  $(BIN)/python bench/$$table.py || kept=1; done; \
	for table in features pairs store backtest; do \
	  $(BIN)/python bench/$$table.py $(if $(DATASET),--dataset '$(DATASET)') || kept=1; done; exit $$kept

SECONDS ?= 600
feed: setup
	@$(BIN)/python bench/feed.py --seconds $(SECONDS) $(if $(DATASET),--dataset '$(DATASET)')

soak: setup
	@$(BIN)/python bench/soak.py --sessions $(or $(SESSIONS),60) --seed $(or $(SEED),1)

# The clients of others live in an environment of their own, made once for each list of versions.
conformance: setup
	@cmp -s conformance/requirements.txt .venv-conformance/installed.txt || { \
	  $(BIN)/python -m venv --clear .venv-conformance && \
	  .venv-conformance/bin/pip install -q -r conformance/requirements.txt && \
	  cp conformance/requirements.txt .venv-conformance/installed.txt || { \
	  echo '클라이언트를 설치하지 못했습니다: 인터넷 연결을 확인한 뒤 다시 실행해 주세요.'; exit 2; }; }
	@$(BIN)/python conformance/run.py $(if $(DATASET),--dataset '$(DATASET)')

# The backtesters of others live in environments of their own, made once for each list of versions.
compare-peers: setup
	@$(BIN)/python peers/compare.py $(if $(PART),--part $(PART))

# atheris has wheels for Python 3.11 and 3.12 on Linux: an environment of its own, which sees ours.
fuzz: setup
	@test -x build/fuzz/bin/python || { $(BIN)/python -m venv build/fuzz && \
	  $(BIN)/python -c "import sysconfig, pathlib; \
	    print(sysconfig.get_paths()['purelib'], pathlib.Path('src').resolve(), sep=chr(10))" \
	    > "$$(echo build/fuzz/lib/python3*/site-packages)/trading.pth" && \
	  build/fuzz/bin/pip install -q atheris || { rm -rf build/fuzz; \
	  echo 'atheris를 설치하지 못했습니다: 리눅스의 Python 3.11이나 3.12에서 실행해 주세요.'; exit 2; }; }
	@build/fuzz/bin/python tests/fuzz/fuzz_wire.py build/fuzz/corpus -max_total_time=$(SECONDS)

# PREFECT_API_URL=http://127.0.0.1:4300/api make serve: another port. A second one only deploys.
serve: setup
	@$(BIN)/python -m flows.serve

dashboard: setup
	@$(BIN)/trading dashboard

mlflow: setup
	@mkdir -p mlruns
	@echo 'MLflow 화면: http://127.0.0.1:5000 (끝내려면 Ctrl+C)'
	@MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true $(BIN)/mlflow server \
	  --backend-store-uri sqlite:///mlruns/mlflow.db --artifacts-destination mlruns --host 127.0.0.1 --port 5000
