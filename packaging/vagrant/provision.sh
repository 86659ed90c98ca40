#!/usr/bin/env bash
# Inside the machine: PostgreSQL, the app's packages, Surgetank from the sources, and a service that
# runs `surgetank stage`. May run again.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

apt-get update -q
# shellcheck disable=SC2086  # PACKAGES is a list
apt-get install -y -q --no-install-recommends \
    ca-certificates curl gcc libc6-dev make postgresql ${PACKAGES:-}
# Only its programs: staging starts servers of its own.
systemctl disable --now postgresql

if ! command -v /root/.cargo/bin/cargo >/dev/null; then
    curl -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
fi
/root/.cargo/bin/cargo install --locked --path /src/surgetank/crates/surgetank --root /usr/local

cd /src/app
if [ -n "${BUILD:-}" ]; then bash -c "$BUILD"; fi

cat > /etc/systemd/system/stage.service <<UNIT
[Unit]
Description=The app, staged as production has it

[Service]
WorkingDirectory=/src/app
ExecStart=/usr/local/bin/surgetank stage --from ${FROM} --port 5001
KillSignal=SIGINT
TimeoutStopSec=60
Delegate=yes

[Install]
WantedBy=multi-user.target
UNIT

# The router listens on loopback; the forwarded port comes in over the machine's network.
cat > /etc/systemd/system/stage-port.socket <<UNIT
[Socket]
ListenStream=5000

[Install]
WantedBy=sockets.target
UNIT
cat > /etc/systemd/system/stage-port.service <<UNIT
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd 127.0.0.1:5001
UNIT

systemctl daemon-reload
systemctl enable --now stage-port.socket
systemctl enable stage
systemctl restart stage
