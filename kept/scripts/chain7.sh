source /tmp/head.sh
mv /tmp/train/distilled /tmp/train/old/distilled_cfg
part distilled train 2
say "chain7 done"
