source /tmp/head.sh
while pgrep -f chain9.sh >/dev/null; do sleep 1; done
bash /tmp/sync_ship.sh
cp -r /tmp/train/transformer /tmp/train/old/mono/
nice -n -9 /tmp/venv/bin/python /tmp/stats.py >> /tmp/train/chain.out 2>&1
say "reaudio"
nice -n -9 /tmp/venv/bin/python /tmp/reaudio.py 0 2 > /tmp/ra0.log 2>&1 & nice -n -9 /tmp/venv/bin/python /tmp/reaudio.py 1 2 > /tmp/ra1.log 2>&1; wait
say "reaudio done"
part transformer train 2 compiled=True
mv /tmp/train/distilled /tmp/train/old/mono/
part distilled train 2
part audio train_vocoder 2
say "chain10 done"
