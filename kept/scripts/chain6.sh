source /tmp/head.sh
while pgrep -f "run_part.py cameras" >/dev/null; do sleep 1; done
say "end dolly_out"
for m in jib_down static; do part cameras train 2 move=$m; done
bash /tmp/sync_ship.sh
mv /tmp/train/distilled /tmp/train/old/distilled_worded
part distilled train 2
lat 2 worn=4 half_again=4 long=4
part detailer train 2
part upscalers train 2 name=temporal_upscaler
part upscalers train 2 name=spatial_upscaler_x1.5
say "chain6 done"
