source /tmp/head.sh
while pgrep -f chain11.sh >/dev/null; do sleep 1; done
rm -rf /tmp/measrc /tmp/new /tmp/newrec /tmp/measured; mkdir /tmp/measrc; cp -r /tmp/switch/tiny /tmp/switch/ltx2 /tmp/switch/pipelines /tmp/switch/loras /tmp/measrc/; rm -rf /tmp/measrc/pipelines/tiny/weights
cd /tmp/measrc; export PYTHONPATH=/tmp/measrc
nice -n -9 /tmp/venv/bin/python -m tiny.export /tmp/new --folder /tmp/train --records /tmp/newrec > /tmp/export.log 2>&1
cp -r /tmp/new /tmp/measured; cp -r /tmp/new /tmp/measrc/pipelines/tiny/weights
say "exported"
run(){ for g in $*; do echo "== $g $(date +%H:%M:%S)"; nice -n -7 /tmp/venv/bin/python -m tiny.evaluate --checkpoint /tmp/measured --only $g; done; echo "done $(date +%H:%M:%S)"; }
run sounds prompts cameras agreement pro pictures seeds > /tmp/measA.log 2>&1 &
run detailer spatial temporal cameras-pro > /tmp/measB.log 2>&1 &
wait
say "measured"
