# Rows of a table: each a model, trained by a recipe, evaluated with the run half, timed beside the first. Sourced after
# lib.sh by scripts/demo and apps/*/run. Every run resumes where it was stopped.
#
# parse_rows reads the command line, train_rows does the work. They share these variables:
#   form        quick, full, or tiny: the last trains a few steps of a small model, for CI
#   base        the model directory that dense training starts from (default: MiniLM); origin: the one that the user means,
#               empty where the tables of any will do
#   rows        the rows to train, in order; dense first
#   out         folder of the runs
#   train_data dev_data test_data
#   texts       of row multi-stage, which a script adds to all_rows: what its encoder is made sparse with before it sees a
#               label
#   recipes     folder of the recipes (default: recipes)
#   train_options eval_options   more options of twofour train and twofour eval
#   bench_shapes                 of twofour bench --batch --tokens; empty: no latencies
# A script defines steps_of ROW, which prints the steps of a row in the quick or tiny form, and, where it calls pool_folds,
# evaluate_pool RUN FOLD..., which evaluates the folds of a row as one run; neither has a default. It may define anew
#   served_in RUN         the precision in which a run's model is timed
#   more_options RECIPE   adds options of twofour train to `arguments`
#   evaluate RUN DATA     evaluates a run, where its metrics are not those of pairs

all_rows=(dense control int8-ptq int8-qat one-shot one-shot-kd progressive progressive-kd
  sparse-qat sparse-qat-r{1,2,4,16} sparse-qat-r{2,4,16}-adjacent sparse-qat-r{2,4}-nearby)
form=quick
training=yes
base=
origin=
texts=
rows=()
recipes=recipes
train_options=()
eval_options=()
bench_shapes=(--batch 1,16 --tokens 32,128)
served_in() { echo f32; }
more_options() { :; }

# parse_rows FORM... -- ARGUMENT...: sets form, training, base and words (what is no option). FORM: full, tiny.
parse_rows() {
  local forms=()
  while [ "$1" != -- ]; do forms+=("$1"); shift; done
  shift
  words=()
  while [ $# -gt 0 ]; do
    case $1 in
      --full | --tiny)
        [[ " ${forms[*]} " = *" ${1#--} "* ]] || die "unknown option $1"
        form=${1#--} ;;
      --table) training=no ;;
      --model) [ $# -gt 1 ] || die "--model wants a model directory"; base=$2; shift ;;
      -h | --help) sed -n '2,/^[^#]/{/^[^#]/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
      -*) die "unknown option $1 (known: ${forms[*]/#/--} --table --model DIR --help)" ;;
      *) words+=("$1") ;;
    esac
    shift
  done
}

# prepare_rows [TARGET...]: sets up, builds the command and more targets, and chooses the model to start from.
# TWOFOUR_COMMAND names a command that is built already, with these programs beside it.
prepare_rows() {
  if [ -z "${TWOFOUR_COMMAND:-}" ]; then
    scripts/setup
    say "build"
    scripts/build release -- --target twofour twofour_train_shared "$@"
  fi
  twofour=${TWOFOUR_COMMAND:-$root/build/release/bin/twofour}
  local named=$base
  [ -n "$base" ] || base=$(echo $(minilm))
  if [ $training = yes ] || [ -n "$named" ]; then
    [ -f "$base/config.json" ] || die "$base is no model directory: config.json is missing"
    origin=$(realpath --relative-base "$root" "$base")
  fi
  [ "$form" != tiny ] || base=$(tiny_base)
}

# origin_of_runs: the model that the runs in `out` start from, the default one where they do not say; nothing without runs.
origin_of_runs() {
  if [ -f "$out/base.txt" ]; then
    cat "$out/base.txt"
  elif [ -d "$out/dense" ] || [ -d "$out/base" ] || compgen -G "$out/*/log.jsonl" >/dev/null; then
    realpath -m --relative-base "$root" "$(echo $(minilm))"
  fi
}

# Keeps in the folder of the runs which model they start from: with another --model they would be taken for finished, and the
# old model's tables printed.
same_base() {
  local known
  [ -n "$origin" ] || return 0
  known=$(origin_of_runs)
  [ -z "$known" ] || [ "$(realpath -m "$known")" = "$(realpath -m "$origin")" ] ||
    die "$out has runs that start from $known: remove the folder to start from $origin"
  [ $training = no ] || { mkdir -p "$out" && echo "$origin" >"$out/base.txt"; }
}

# The first two layers of the model, which train in seconds.
tiny_base() {
  local small=runs/tiny/base
  out=runs/tiny same_base
  if [ ! -f $small/model.safetensors ]; then
    rm -rf $small $small.part && mkdir -p runs/tiny && cp -rL "$base" $small.part && chmod -R u+w $small.part
    sed -i 's/"num_hidden_layers": *[0-9]*/"num_hidden_layers": 2/' $small.part/config.json
    mv $small.part $small
  fi
  echo "$root/$small"
}

# The trainer writes summary.json last.
finished() { [ -f "$out/$1/summary.json" ]; }

# train_run RECIPE NAME OPTION...: begins a run or goes on with it; returns 130 when it was stopped and can go on.
train_run() {
  local recipe=$1 name=$2 more=("${@:3}") limit=()
  finished "$name" && return 0
  [ ! -e "$out/$name/log.jsonl" ] || more+=(--resume)
  [ "${single_jobs:-no}" = no ] || limit=(timeout --foreground --signal=INT 2400)
  "${limit[@]}" "$twofour" train "$recipes/$recipe.yaml" --out "$out/$name" "${more[@]}"
}

# recipe_of ROW: the name of its recipe.
recipe_of() {
  case ${1%.s*} in
    sparse-qat-r*) echo sparse-qat ;;
    multi-stage) echo dense ;;
    *) echo "${1%.s*}" ;;
  esac
}

# twin ROW RUN: the row with the seed of a run, where it was trained with that one, too.
twin() {
  local seed
  seed=$(basename "$2" | grep -o '\.s[0-9]*$') || true
  [ -d "$out/$1$seed" ] || seed=
  echo "$1$seed"
}

# Trains a row, or goes on with it; returns 130 when it was stopped and can go on.
train_row() {
  local row=$1 recipe dense start arguments=("${train_options[@]}")
  finished "$row" && return 0
  recipe=$(recipe_of "$row")
  dense=$(twin dense "$row")
  start=$out/$dense/model
  [[ $row != *.s* ]] || arguments+=(--set "seed=${row##*.s}")
  case ${row%.s*} in
    dense) start=$base ;;
    multi-stage) # its seeds share the encoder
      train_run sparse-pretraining sparse-pretraining --model "$base" --train "$texts" || return $?
      start=$out/sparse-pretraining/model ;;
    sparse-qat-r*)
      arguments+=(--set "stages.*.share_rows=$(grep -o '[0-9]*' <<<"${row%.s*}")")
      [[ ! $row =~ -(adjacent|nearby) ]] || arguments+=(--set "stages.*.pairing=${BASH_REMATCH[1]}") ;;
  esac
  [ -d "$start" ] || die "row $row starts from $start, which is not there yet: train row $dense first"
  [ "$recipe" = dense ] || arguments+=(--teacher "$start")
  more_options "$recipe"
  [ "$form" = full ] || arguments+=(--max-steps "$(steps_of "$row")" --set evaluate_every=0)
  train_run "$recipe" "$row" --model "$start" --train "$train_data" --eval "$dev_data" "${arguments[@]}"
}

# evaluate RUN DATA [SET [OPTION...]]: the test set is read once for a run. SET names a further set of data.
evaluate() {
  local run=$1 data=$2 suffix=${3:+-$3} more=("${@:4}")
  [ -n "$suffix" ] || more+=(--run "$run/test.run.zst")
  [ -f "$run/eval$suffix.json" ] || "$twofour" eval "$run/model" "$data" --scores "$run/scores$suffix.jsonl.zst" \
    "${eval_options[@]}" "${more[@]}" --out "$run/eval$suffix.json" >/dev/null
}

# evaluate_run NAME TREC_RUN DATA [SET]: a ranking without a model, such as BM25's, as a run of its own.
evaluate_run() {
  local run=$out/$1 suffix=${4:+-$4}
  mkdir -p "$run"
  [ -f "$run/eval$suffix.json" ] || "$twofour" eval --trec-run "$2" "$3" --scores "$run/scores$suffix.jsonl.zst" \
    "${eval_options[@]}" --out "$run/eval$suffix.json" >/dev/null
}

# evaluate_part RUN QRELS SET: metrics of those test queries that a further file judges, as a set of their own. They follow from
# the scores of the whole test, so no pair is scored twice.
evaluate_part() {
  local run=$1 set=$3
  [ ! -f "$run/eval-$set.json" ] || return 0
  zstdcat "$run/scores.jsonl.zst" | python3 -c '
import json, sys
wanted = {line.split("\t")[0] for line in open(sys.argv[1])}
print(*(line for number, line in enumerate(sys.stdin) if number == 0 or json.loads(line)["query"] in wanted), sep="", end="")' \
    <(zstdcat "$2") >"$run/part.jsonl"
  "$twofour" eval --pool "$run/part.jsonl" --scores "$run/scores-$set.jsonl.zst" --out "$run/eval-$set.json" >/dev/null
  rm "$run/part.jsonl"
}

# Trains `rows` one after the other and evaluates each. Stops with 130 where a job's time is over.
train_rows() {
  local row status
  same_base
  for row in "${rows[@]}"; do
    say "${title:+$title: }$row"
    status=0
    train_row "$row" || status=$?
    if [ $status -eq 130 ] || [ $status -eq 124 ]; then
      say "$row is not finished; the same command goes on with it"
      exit 130
    fi
    [ $status -eq 0 ] || exit $status
    evaluate "$out/$row" "$test_data"
  done
}

# pool_folds ROW FOLD...: the folds of a row as one run, once all are evaluated, so that every query is judged by a model that
# has not seen it; evaluate_pool, which a script defines, evaluates it. The first fold's model stands for its size and speed.
# summary.json comes last, as with a row that is trained.
pool_folds() {
  local fold run=$out/$1 folds=()
  ! finished "$1" || return 0
  for fold in "${@:2}"; do
    [ -f "$out/fold$fold/$1/eval.json" ] || return 0
    folds+=("$out/fold$fold/$1")
  done
  [ -f "$out/base.txt" ] || [ ! -f "$out/fold$2/base.txt" ] || cp "$out/fold$2/base.txt" "$out/base.txt"
  mkdir -p "$run"
  ln -sfn "../fold$2/$1/model" "$run/model"
  zstdcat "${folds[@]/%//test.run.zst}" | zstd -q -f -o "$run/test.run.zst"
  evaluate_pool "$run" "${folds[@]}"
  cp "${folds[0]}/summary.json" "$run/summary.json.part"
  mv "$run/summary.json.part" "$run/summary.json"
}

# All rows in their order, each followed by its runs with other seeds.
rows_with_seeds() {
  local row seed
  for row in "${all_rows[@]}"; do
    echo "$row"
    for seed in "$out/$row".s*; do [ ! -d "$seed" ] || basename "$seed"; done
  done
}

# precision_of RUN: bf16 for sparse float models where the machine has it.
precision_of() {
  local row
  row=$(basename "$1")
  if [[ $row = progressive* || $row = one-shot* ]] && grep -q avx512_bf16 /proc/cpuinfo; then echo bf16; else echo f32; fi
}

# weights_of RUN: their type as a run is served, where precision_of says how floats are.
weights_of() {
  if [[ $(basename "$1") = sparse-qat* || $(basename "$1") = int8-* ]]; then echo int8; else precision_of "$1"; fi
}

# has_rows: whether a row is finished; says so where none is. What has several cases goes on with the next one.
has_rows() {
  local row
  for row in $(rows_with_seeds); do
    if finished "$row"; then return 0; fi
  done
  say "${title:+$title: }no row of the $form form is finished yet in $out"
  return 1
}

# Sets runs to the folders of the rows that are finished, evaluated and timed. Latency in turns with the dense model, so
# that the ratio holds when the machine's speed drifts; not in the tiny form.
finished_runs() {
  local row precision served
  same_base
  has_rows || exit 1
  runs=()
  for row in $(rows_with_seeds); do
    finished "$row" || continue
    evaluate "$out/$row" "$test_data"
    precision=$(served_in "$out/$row")
    served=()
    [ "$precision" = f32 ] || served=(--precision "$precision")
    [ $form = tiny ] || [ ${#bench_shapes[@]} -eq 0 ] || [ -f "$out/$row/bench.json" ] ||
      "$twofour" bench "$out/$row/model" "${served[@]}" --against "$out/dense/model" "${bench_shapes[@]}" --threads 2 \
        --out "$out/$row/bench.json" >/dev/null
    runs+=("$out/$row")
  done
}

# report TITLE DATA [RUN...]: the tables of `runs` and more runs, and the page with the rankings of the first and the last
# of `runs` side by side, where both kept theirs.
report() {
  local queries=() title=$1 data=$2
  shift 2
  [ ${#runs[@]} -lt 2 ] || [ ! -f "${runs[0]}/test.run.zst" ] || [ ! -f "${runs[-1]}/test.run.zst" ] ||
    queries=(--queries "$data")
  "$twofour" report "${runs[@]}" "$@" "${queries[@]}" --title "$title" --out "$out/report.html" | tee "$out/table.txt"
  seeds
}

# Mean and spread of the rows that were trained with several seeds.
seeds() {
  python3 - "${runs[@]}" <<'EOF'
import collections, json, pathlib, sys
rows = collections.defaultdict(list)
for run in map(pathlib.Path, sys.argv[1:]):
    rows[run.name.split(".s")[0]].append(json.loads((run / "eval.json").read_text())["metrics"])
for row, found in rows.items():
    if len(found) == 1:
        continue
    print(f"\n{row}, {len(found)} seeds, mean (lowest .. highest)")
    for name in found[0]:
        values = [metrics.get(name) for metrics in found]
        if name == "pnr_ties" or None in values:
            continue
        print(f"  {name}: {sum(values) / len(values):.4f} ({min(values):.4f} .. {max(values):.4f})")
EOF
}

# verdicts [--set SET] METRIC=PERCENT...: which sparse rows are not inferior to the others by these margins; rows that share
# patterns have twice as much. Where pnr is among them, sparse rows are also to be above int8-qat in it.
verdicts() {
  local set='' scores=scores.jsonl.zst
  if [ "$1" = --set ]; then set=$2; scores=scores-$2.jsonl.zst; shift 2; fi
  compare_sparse verdict "$@"
}

# intervals METRIC...: the differences of sparse rows to the others, where queries are too few for a verdict.
intervals() {
  local set='' scores=scores.jsonl.zst
  echo
  compare_sparse interval "$@"
}

# compare_sparse FUNCTION ARGUMENT...: FUNCTION OTHER SPARSE ARGUMENT... for each sparse row of `runs` and each row that it is
# compared with, of the same seed where there is one. Set: `set`, `scores`.
compare_sparse() {
  local sparse other
  for sparse in "${runs[@]}"; do
    [[ $(basename "$sparse") = sparse-qat* ]] || continue
    for other in dense control int8-qat; do
      other=$(twin "$other" "$sparse")
      [ ! -f "$out/$other/$scores" ] || "$1" "$other" "$sparse" "${@:2}"
    done
  done
}

verdict() {
  local other=$1 sparse=$2 factor=1 gate gates=()
  [[ ! $(basename "$sparse") =~ -r([2-9]|1[0-9]) ]] || factor=2
  for gate in "${@:3}"; do gates+=(--non-inferior "${gate%%=*}=-$((factor * ${gate##*=}))%"); done
  ask "not inferior to" "$other" "$sparse" "${gates[@]}"
  [[ $other != int8-qat* || " ${*:3}" != *" pnr="* ]] || ask "above" "$other" "$sparse" --non-inferior pnr=-0%
}

ask() {
  local answer status=0
  printf '\n%s %s %s%s?\n' "$(basename "$3")" "$1" "$2" "${set:+, $set}"
  answer=$("$twofour" compare "$out/$2/$scores" "$3/$scores" "${@:4}") || status=$?
  [ $status -eq 0 ] || [ $status -eq 3 ] || exit $status  # 3: a gate is not met
  grep -E '^(PASS|FAIL)' <<<"$answer" || true
}

interval() {
  "$twofour" compare "$out/$1/$scores" "$2/$scores" --json | python3 -c '
import json, sys
compared, (other, sparse), metrics = json.load(sys.stdin)["metrics"], sys.argv[1:3], sys.argv[4:]
queries = json.load(open(sys.argv[3]))["queries"]
for metric in metrics:
    percent = [100 * compared[metric][name] for name in ("relative", "relative_low", "relative_high")]
    print("%s against %s: %s %+.1f %% (%+.1f .. %+.1f %%), %d queries" % (sparse, other, metric, *percent, queries))' \
    "$1" "$(basename "$2")" "$2/eval.json" "${@:3}"
}

# print_speed FILE RUN OTHER HOW: how many times as fast a run is as another, from what a program's bench wrote, quartiles in
# brackets. HOW says what was measured.
print_speed() {
  python3 - "$@" <<'EOF'
import json, sys
speed, (run, other, how) = json.load(open(sys.argv[1])), sys.argv[2:]
def line(what, ratio, low, high, threads):
    print(f"{run}, {what}: {ratio:.2f}x ({low:.2f} .. {high:.2f}) as fast as {other}, {1 / ratio:.2f} of its time; "
          f"{how}, {threads} thread{'s' * (threads > 1)}")
for row in speed.get("results", []):  # of twofour bench: one for each shape
    line(f"{row['batch']} x {row['tokens']} tokens in {row['median_ms']:.2f} ms",
         *(row["against"][name] for name in ("ratio", "ratio_low", "ratio_high")), row["threads"])
for things in ("queries", "pictures"):
    if f"{things}_per_second" in speed:
        line(f"{speed[f'{things}_per_second']['median']:.1f} {things} a second",
             *(speed["times_as_fast"][name] for name in ("median", "low", "high")), speed["threads"])
EOF
}

# typed_query QUERY CORPUS: what the first sparse-int8 row finds, and the command that asks it.
typed_query() {
  local run
  for run in "${runs[@]}"; do
    [[ $(basename "$run") = sparse-qat* ]] && [ -d "$run/model" ] || continue
    say "a typed query, answered by $(basename "$run"); for another:"
    printf '%s predict %s --query "%s" --documents %s --top 5\n\n' "${twofour#"$root"/}" "$run/model" "$1" "$2"
    "$twofour" predict "$run/model" --query "$1" --documents "$2" --top 5
    return
  done
}

# require_rows ROW...: rows that exist and have a recipe in `recipes`; ROW.sN is one with seed N.
require_rows() {
  local row
  for row in "$@"; do
    [[ " ${all_rows[*]} " = *" ${row%.s[0-9]*} "* ]] || die "unknown row $row (known: ${all_rows[*]})"
    [ -f "$recipes/$(recipe_of "$row").yaml" ] ||
      die "unknown row $row: $recipes has no recipe for it (it has those of $(basename -as .yaml "$recipes"/*.yaml | paste -sd ' '))"
  done
}

# require_above FILE METRIC CHANCE: fails where an evaluation is not above what chance reaches.
require_above() {
  python3 - "$@" <<'EOF' || die "$2 in $1 is no better than chance"
import json, sys
value = json.load(open(sys.argv[1]))["metrics"].get(sys.argv[2])
print(f"{sys.argv[1]}: {sys.argv[2]} is {value}, chance reaches {sys.argv[3]}")
sys.exit(value is None or not value > float(sys.argv[3]))
EOF
}

# first_queries TASK PART COUNT: prints the path of a part with its first COUNT queries, in runs/ where that is not all.
first_queries() {
  local whole=$1/qrels/$2.tsv.zst folder
  folder=runs/parts/$(basename "$1")
  local part=$folder/qrels/$2-$3.tsv
  if [ "$3" -ge "$(zstdcat "$whole" | tail -n +2 | cut -f1 | uniq | wc -l)" ]; then echo "$whole"; return; fi
  mkdir -p "$folder/qrels"
  ln -sf "$root/$1/corpus.jsonl.zst" "$root/$1/queries.jsonl.zst" "$folder"
  zstdcat "$whole" | awk -F '\t' -v count="$3" 'NR > 1 && !seen[$1]++ { ++queries } queries <= count' >"$part"
  echo "$part"
}
