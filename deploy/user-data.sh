#!/bin/bash
# A machine of gridctl, from its first moment. It ends itself after two hours unless gridctl renews that time; it fetches gridctl
# from the account's bucket, by its hash and with the role of the machine, and starts it as a service. No secret is in here.
set -eu
role='${role}' bucket='${bucket}' sweep='${sweep}' region='${region}' sha256='${sha256}'
units=/etc/systemd/system

cat >$units/gridctl-expire.service <<'UNIT'
[Unit]
Description=Ends this machine, whose time gridctl has not renewed
[Service]
Type=oneshot
ExecStart=shutdown -h now
UNIT
cat >$units/gridctl-expire.timer <<'UNIT'
[Unit]
Description=The time that this machine has
[Timer]
OnActiveSec=2h
AccuracySec=1s
[Install]
WantedBy=timers.target
UNIT
systemctl daemon-reload
systemctl enable --now gridctl-expire.timer

metadata=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}/latest
endpoint=${AWS_ENDPOINT_URL:-https://s3.$region.amazonaws.com}
field() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" <<<"$keys"; }

fetch() {
  local token profile keys
  token=$(curl -fsS -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$metadata/api/token") || return 1
  about() { curl -fsS -m 5 -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/$1"; }
  profile=$(about iam/security-credentials/) || return 1
  keys=$(about "iam/security-credentials/$profile" | tr -d '\n' | sed 's/,/\n/g') || return 1
  # The keys go by stdin: arguments are seen by every process.
  curl -fsS -m 300 --config - -o gridctl.new "$endpoint/$bucket/control/binary/$sha256" <<CONFIG || return 1
aws-sigv4 = "aws:amz:$region:s3"
user = "$(field AccessKeyId):$(field SecretAccessKey)"
header = "x-amz-security-token: $(field Token)"
header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"
CONFIG
  sha256sum --check --quiet <<<"$sha256  gridctl.new"
}

mkdir -p /opt/gridctl /var/lib/gridctl
chmod 700 /var/lib/gridctl
cd /opt/gridctl
until fetch; do
  tries=$((${tries:-0} + 1))
  if [ "$tries" -ge 60 ]; then
    echo "gridctl cannot be fetched from s3://$bucket: this machine ends"
    shutdown -h now
    exit 1
  fi
  sleep 5
done
chmod 755 gridctl.new
mv gridctl.new gridctl

cat >$units/gridctl.service <<UNIT
[Unit]
Description=gridctl: the $role of $sweep
After=network-online.target
[Service]
Environment=HOME=/root
Environment=AWS_REGION=$region
${AWS_ENDPOINT_URL:+Environment=AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL}
WorkingDirectory=/var/lib/gridctl
ExecStart=/opt/gridctl/gridctl machine $role --bucket $bucket --sweep $sweep
Restart=always
RestartSec=5s
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now gridctl.service
echo "gridctl is started: the $role of $sweep"
