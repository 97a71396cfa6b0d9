# Sourced by the tests: start a local IAMPASS that approves or denies all requests ($auto), and configure this machine
# for it.
state=$(mktemp -d)
pam-iampass sandbox --listen 127.0.0.1:8443 --application-id demo --state "$state" --user token-of-alice \
    --auto "$auto" > "$state/log" 2>&1 &
sandbox=$!
trap 'kill "$sandbox"; cat "$state/log"' EXIT
timeout 30 sh -c 'until grep -q "^Sandbox ready" "$1"; do sleep 0.2; done' wait "$state/log"
install -m 644 "$state/ca.pem" /etc/iampass/ca.pem
install -o root -g _iampass -m 640 "$state/application-secret" /etc/iampass/application-secret
cat > /etc/iampass/iampass.yaml <<'END'
application_id: demo
server: https://127.0.0.1:8443
ca_file: /etc/iampass/ca.pem
timeout: 20s
END
echo "alice: token-of-alice" > /etc/iampass/users.yaml
getent passwd alice > /dev/null || useradd --create-home --shell /bin/sh alice
pam-iampass check --settings
