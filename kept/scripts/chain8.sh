source /tmp/head.sh
while pgrep -f chain7.sh >/dev/null; do sleep 1; done
bash /tmp/sync_ship.sh
lat 2 long=12
part upscalers train 2 name=temporal_upscaler
lat 2 worn=8
part detailer train 2
lat 2 pair=14
part upscalers train 2 name=spatial_upscaler
part upscalers train 2 name=spatial_upscaler_x1.5
say "chain8 done"
