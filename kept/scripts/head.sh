export PYTHONPATH=/tmp/trainsrc OMP_NUM_THREADS=1
cd /tmp
say(){ echo "$(date +%H:%M:%S) $*" >> /tmp/train/chain.log; }
part(){ say "begin $*"; for i in 1 2 3; do nice -n -9 /tmp/venv/bin/python /tmp/run_part.py "$@" >> /tmp/train/chain.out 2>&1 && break; say "failed $*"; sleep 2; done; say "end $*"; }
lat(){ say "begin lat $*"; nice -n -9 /tmp/venv/bin/python /tmp/run_lat.py "$@" >> /tmp/train/chain.out 2>&1 || say "failed lat"; say "end lat $*"; }
