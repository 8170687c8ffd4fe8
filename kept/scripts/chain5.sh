source /tmp/head.sh
part audio train_vocoder 2
for m in dolly_in jib_up dolly_right dolly_out jib_down static; do part cameras train 2 move=$m; done
lat 2 worn=4 half_again=4 long=4
part detailer train 2
part upscalers train 2 name=temporal_upscaler
part upscalers train 2 name=spatial_upscaler_x1.5
say "chain5 done"
