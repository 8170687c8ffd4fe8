source /tmp/head.sh
while pgrep -f "run_part.py transformer" >/dev/null; do sleep 1; done
say "end transformer"
part transformer train 2 compiled=True
bash /tmp/sync_ship.sh
mkdir -p /tmp/train/old/240; cp -r /tmp/train/camera_* /tmp/train/old/240/; cp -r /tmp/train/distilled /tmp/train/detailer /tmp/train/old/240/
for m in dolly_in dolly_out dolly_left dolly_right jib_up jib_down static; do part cameras train 2 move=$m; done
part distilled train 2
part detailer train 2
part audio train_vocoder 2
say "chain11 done"
