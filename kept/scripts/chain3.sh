source /tmp/head.sh
while pgrep -f "run_part.py transformer train 2 until=2500" >/dev/null; do sleep 2; done
say "transformer at 2500"
lat 2 pair=10
part transformer train 2 compiled=True
part cameras train 2 move=dolly_left
part upscalers train 2 name=spatial_upscaler
part distilled train 2
say "chain3 done"
