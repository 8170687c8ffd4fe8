source /tmp/head.sh
part audio train_vae 2
say "vae done"
