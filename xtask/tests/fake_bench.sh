#!/bin/sh
# Stands in for `effyolo info` and `effyolo bench`: numbers that follow from the options, after a check of them.
# FAKE_LOG gets a line a call; with FAKE_BREAK=yes a training step fails.
command=$1
shift
echo "$command $*" >> "$FAKE_LOG"
while [ $# -gt 0 ]; do
    case "$1" in
        --model) model=$2; shift ;;
        --imgsz) imgsz=$2; shift ;;
        --batch) batch=$2; shift ;;
        --runs) runs=$2; shift ;;
        --threads) threads=$2; shift ;;
        --json) json=$2; shift ;;
        --train) train=yes ;;
        --peak) peak=yes ;;
        *) echo "unknown option $1" >&2; exit 9 ;;
    esac
    shift
done
[ "$json" = - ] || { echo "expected --json -" >&2; exit 9; }
case "$command" in
    info)
        [ -n "$peak" ] || { echo "expected --peak" >&2; exit 9; }
        # The second answer is the better one.
        gflops=$(awk 'END { print (NR > 1 ? 200 : 100) }' "$FAKE_LOG")
        echo "{\"version\": \"0.1.0\", \"cpu\": \"Fake CPU\", \"isa\": \"avx2\", \"threads\": ${threads:-2}, \"caches\": []," \
            "\"peak_gflops\": {\"one_thread\": 60.0, \"all_threads\": $gflops}}"
        ;;
    bench)
        memory=null
        [ -z "$train" ] || memory=300.0
        [ -f "$model" ] || { echo "no model $model" >&2; exit 9; }
        [ "$FAKE_BREAK:$train" != yes:yes ] || { echo "error: out of memory" >&2; exit 3; }
        echo "{\"median_ms\": $((imgsz * batch)).5, \"min_ms\": $runs.0, \"gflops\": 50.0, \"macs\": 1," \
            "\"peak_rss_mb\": $memory}"
        ;;
    *) echo "unknown command $command" >&2; exit 9 ;;
esac
