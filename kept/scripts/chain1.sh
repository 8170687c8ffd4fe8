source /tmp/head.sh
part video_vae train 2
part audio train_vae 2
say "chain1 done"
