# What a deck does whose disk is full: it is run in a mount namespace of its own, as `sh full-disk.sh FOLDER COMPOSE TAPDECK...`.
set -e
folder=$1 compose=$2
shift 2
mount -t tmpfs -o size=400k full "$folder"
export TAPDECK_HOST="unix://$folder/td.sock"
fill() { dd if=/dev/zero of="$folder/fill" bs=1k 2>/dev/null || true; }

fill
"$@" run --network none -- true || true
rm "$folder/fill"

"$@" lab up "$compose" --uplink none
# To the last byte, also of what the daemon and the services have begun to write.
log="$folder/td.labs/full/a.log"
size=-1
while [ "$size" != "$(stat -c %s "$log")" ]; do
  size=$(stat -c %s "$log")
  fill
  sleep 0.5
done
"$@" network create more >/dev/null
"$@" run --network more -- true
rm "$folder/fill"
until "$@" lab logs "$compose" a | grep -m 1 -o 'lines are missing here'; do sleep 0.1; done
"$@" lab ps "$compose" --format json | grep -c '"state": "running"'
"$@" network rm more >/dev/null
"$@" lab down "$compose" 2>/dev/null
# The daemon ends by itself.
while [ -e "$folder/td.lock" ]; do sleep 0.1; done
ls -A "$folder"
