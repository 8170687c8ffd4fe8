source /tmp/head.sh
lat 2 small=48 dolly_in=5 dolly_out=5 dolly_left=5 dolly_right=5 jib_up=5 jib_down=5 static=5
part transformer train 2 until=2500 compiled=True
lat 2 pair=10
part transformer train 2 compiled=True
part upscalers train 2 name=spatial_upscaler
say "chain2 done"
