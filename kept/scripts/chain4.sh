source /tmp/head.sh
part distilled train 2
part audio train_vocoder 2
say "chain4 done"
