#!/bin/bash
# Runs as root in a container with systemd, which ends afterwards: the Debian package, from its first installation to a purge.
#
# /package has this script, old.deb, new.deb and newer.deb. The first step that fails ends the script with exit code 1.
set -u
export DEBIAN_FRONTEND=noninteractive HOME=/root
config=/etc/license-gate/gate.toml store=/var/lib/license-gate
cd /root || exit 1

# Words: a name for the step, and a command that must succeed.
step() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "ok: $name"
    else
        echo "FAILED: $name: $*"
        echo "$output"
        systemctl status --no-pager --full --lines=20 license-gate.service 2>&1
        exit 1
    fi
}
fails() { ! "$@"; }
is() { [[ $1 == "$2" ]] || { echo "'$1' is not '$2'"; return 1; }; }
prints() {
    local expected=$1
    shift
    "$@" 2>&1 | tee /dev/stderr | grep -qF -- "$expected"
}
property() { is "$(systemctl show --value --property="$1" license-gate.service)" "$2"; }
pid() { systemctl show --value --property=MainPID license-gate.service; }
# As the unit runs it.
check_config() {
    systemd-run --quiet --pipe --wait --property=User=license-gate --property=AmbientCapabilities=CAP_NET_BIND_SERVICE \
        license-gate check-config --config "$config"
}
request() { curl --silent --show-error --fail --cacert tls.pem --user ops:secret "$@"; }
license_is_valid() { is "$(request https://127.0.0.1/api/licensing/check)" true; }
# Bounded waiting for a state that systemd reaches by itself.
until_true() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        "$@" && return
        sleep 0.1
    done
    return 1
} >/dev/null 2>&1

certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$1" \
        -addext subjectAltName=IP:127.0.0.1 -keyout tls.key -out tls.pem 2>/dev/null
    install -o root -g ssl-cert -m 0640 tls.key /etc/license-gate/tls.key
    install -m 0644 tls.pem /etc/license-gate/tls.pem
}

configure() {
    license-gate keys generate --out vendor >/dev/null
    install -m 0644 vendor/jwks.json /etc/license-gate/jwks.json
    certificate first
    local hash
    hash=$(printf secret | license-gate hash-password)
    # The dashboard is the gate's own admin listener, which serves a page without users.
    sed -i -e 's|^url = ""|url = "http://127.0.0.1:9180"|' -e 's|^listen = .*|listen = ["0.0.0.0:443"]|' \
        -e 's|^root_url = .*|root_url = "https://127.0.0.1/"|' -e 's|^#\[server.tls\]|[server.tls]|' \
        -e 's/^#\(cert_file\|key_file\)/\1/' "$config"
    printf '%s\n' '' '[auth]' 'mode = "local"' '[[auth.users]]' 'name = "ops"' "password_hash = \"$hash\"" \
        'permissions = ["licensing:read", "licensing:write", "licensing:delete"]' >>"$config"
}

install_license() {
    license-gate license issue --key vendor/private.pem --sub https://127.0.0.1/ --lid 1 --company "Example Ltd" \
        --expires-in 365d --token-expires-in 14d >license.jwt
    printf '{"token":"%s"}' "$(cat license.jwt)" |
        request --header 'Content-Type: application/json' --data @- https://127.0.0.1/api/licensing/token
}

step "the first installation names the next step" prints "set upstream.url in $config" dpkg --install /package/old.deb
step "the service is enabled" systemctl is-enabled --quiet license-gate.service
step "the socket is not" fails systemctl is-enabled --quiet license-gate.socket
step "the service has not started" property ActiveState inactive
step "and has not failed" property Result exec-condition
step "its status names the next step" prints "not configured: set upstream.url" systemctl status license-gate.service
step "a start by hand does the same" systemctl start license-gate.service
step "and the service is still inactive" property ActiveState inactive
step "the user has the group of TLS keys" prints ssl-cert id -nG license-gate
step "only root and the user read the configuration" is "$(stat -c %U:%G:%a $config)" root:license-gate:640
step "the pages are there" test -s /usr/share/man/man1/license-gate.1.gz -a -s /usr/share/bash-completion/completions/license-gate

step "the configuration of the manual" configure
systemctl start dbus.socket
step "check-config as the gate's user" check_config
step "start" systemctl start license-gate.service
step "the service is active" property ActiveState active
step "it runs as its user" is "$(stat -c %U "/proc/$(pid)")" license-gate
step "without more capabilities than that for ports" prints "CapEff:	0000000000000400" cat "/proc/$(pid)/status"
step "with a filter of system calls" prints "Seccomp:	2" cat "/proc/$(pid)/status"
step "the dashboard answers through the gate" prints license_gate_build_info request https://127.0.0.1/metrics
step "health" license-gate health --config "$config"
step "a license is installed" install_license
step "it is valid" license_is_valid
step "it belongs to the gate" is "$(stat -c %U:%a $store/license.jwt)" license-gate:600
step "the status has the license" prints "Status: " systemctl status license-gate.service

before=$(pid)
step "a renewed key, readable by the group only" certificate second
step "reload" systemctl reload license-gate.service
step "the new certificate is in use" until_true request --cacert tls.pem https://127.0.0.1/livez
step "in the same process" is "$(pid)" "$before"

step "upgrade from a version without SIGUSR2" dpkg --install /package/new.deb
step "the new version is there" prints "$(dpkg-deb --field /package/new.deb Version)" dpkg-query --show license-gate
step "the service runs again" until_true property ActiveState active
step "in a new process" fails is "$(pid)" "$before"
step "the configuration is the administrator's" grep -q "127.0.0.1:9180" $config
step "the license is still valid" license_is_valid

# Requests until the file `enough` exists, each on a connection of its own or $1 on one. `codes` and `errors` get a line for each.
load() {
    while [[ ! -e enough ]]; do
        request --output /dev/null --write-out '%{http_code}\n' "https://127.0.0.1/metrics?[1-$1]" >>codes 2>>errors
    done
}
answered() { (($(wc -l <codes) >= $1)); }
before=$(pid)
since=$(systemctl show --value --property=ActiveEnterTimestampMonotonic license-gate.service)
touch codes errors
load 1 &
load 50 &
step "requests before the upgrade" until_true answered 300
step "upgrade under load" dpkg --install /package/newer.deb
step "it is seamless" is "$(systemctl show --value --property=ActiveEnterTimestampMonotonic license-gate.service)" "$since"
step "in a new process" fails is "$(pid)" "$before"
step "with the new program" is "$(readlink "/proc/$(pid)/exe")" /usr/bin/license-gate
step "the former process ends" until_true fails test -e "/proc/$before"
step "requests after the upgrade" until_true answered $(($(wc -l <codes) + 300))
touch enough
wait
step "none of them has failed" is "$(grep -cv '^200$' codes) $(cat errors)" "0 "
echo "requests over the upgrade: $(wc -l <codes)"
step "systemd has the status of the new process" prints "Status: \"license" systemctl status license-gate.service
step "the license is still valid" license_is_valid

before=$(pid)
sed -i 's|^root_url|root_ulr|' $config
step "a new program that refuses the configuration" prints "the former one continues" dpkg --install /package/newer.deb
step "leaves the former one in place" is "$(pid)" "$before"
step "which serves" license_is_valid
sed -i 's|^root_ulr|root_url|' $config

stuck() {
    mkdir -p /run/systemd/system/license-gate.service.d
    printf '[Service]\nWatchdogSec=5s\nTimeoutAbortSec=1s\n' >/run/systemd/system/license-gate.service.d/watchdog.conf
    systemctl daemon-reload && systemctl restart license-gate.service && kill -STOP "$(pid)"
}
step "a process that hangs" stuck
step "is replaced after WatchdogSec" until_true fails property NRestarts 0
step "and then runs" until_true license_is_valid
rm -r /run/systemd/system/license-gate.service.d
systemctl daemon-reload
# Also ends the count of starts, which systemd limits.
systemctl reset-failed license-gate.service

sed -i 's|^root_url|root_ulr|' $config
step "a bad configuration is a failure" fails systemctl restart license-gate.service
step "without a restart loop" property ActiveState failed
step "with exit code 1" property ExecMainStatus 1
step "that names the fault" prints root_ulr journalctl --boot --unit license-gate.service
sed -i 's|^root_ulr|root_url|' $config
setpriv --reuid license-gate --regid license-gate --init-groups \
    license-gate serve --config $config --listen 127.0.0.1:8443 --admin-listen '' >other.log 2>&1 &
step "another gate has the store" until_true grep -q listening other.log
step "a gate that cannot start is a failure" fails systemctl restart license-gate.service
step "without a restart loop either" property ActiveState failed
step "with exit code 2" property ExecMainStatus 2
kill %1
wait
systemctl reset-failed license-gate.service

sed -i 's|^listen = .*|listen = ["https://systemd:secure"]|' $config
step "the socket" systemctl enable --now --quiet license-gate.socket
step "starts the gate with the first client" license_is_valid
step "the service is active" property ActiveState active

before=$(pid)
step "remove" dpkg --remove license-gate
step "ends the service" fails test -e "/proc/$before"
step "and the socket" fails systemctl is-active --quiet license-gate.socket
step "the configuration stays" test -s $config
step "and the license" test -s $store/license.jwt
step "install again" dpkg --install /package/newer.deb
systemctl start license-gate.socket
step "with the license from before" license_is_valid
step "purge states what is left" prints "$store still has the license" dpkg --purge license-gate
step "the configuration is gone" fails test -e $config
step "the license stays" test -s $store/license.jwt
step "install a third time" dpkg --install /package/newer.deb
step "purge with the license" env LICENSE_GATE_PURGE_LICENSE=yes dpkg --purge license-gate
step "nothing is left" fails test -e $store
step "no unit either" is "$(find /etc/systemd /usr/lib/systemd -name 'license-gate*')" ""
