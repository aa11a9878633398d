# OpenSSH: sshd forks and changes user for each connection; a command, and a file by rsync over ssh.
need sshd openssh-server
need ssh openssh-client
need rsync rsync
[ "$(id -u)" = 0 ] || skip "sshd needs root"
version=$(ssh -V 2>&1 | sed 's/^\([^ ,]*\).*/\1/')
start_daemons sshd
mkdir -p /run/sshd
sshd=$(command -v sshd)
ssh-keygen -q -t ed25519 -N '' -f "$work/host" && ssh-keygen -q -t ed25519 -N '' -f "$work/user" || fail "no keys"
cp "$work/user.pub" "$work/keys"
cat >"$work/sshd_config" <<CONF
ListenAddress $S:2222
HostKey $work/host
AuthorizedKeysFile $work/keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
CONF
serve "$sshd" -D -e -f "$work/sshd_config"
wait_for_listener 2222
options="-p 2222 -i $work/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o LogLevel=ERROR"
# shellcheck disable=SC2086
[ "$(on_client ssh $options root@$S 'echo $SSH_CLIENT' 2>>"$work/output" | cut -d' ' -f1)" = $C ] || fail "ssh: $(tail -n 1 "$work/output")"
head -c 10000000 /dev/urandom >"$work/file"
# shellcheck disable=SC2086
on_client ssh $options root@$S "cat >'$work/copied'" <"$work/file" || fail "ssh says $?"
cmp -s "$work/file" "$work/copied" || fail "the file arrived changed"
on_client rsync -e "ssh $options" "root@$S:$work/copied" "$work/back" || fail "rsync says $?"
cmp -s "$work/file" "$work/back" || fail "the file came back changed"
expect_crossed 20000000
note="works: a command, 10 MB each way, rsync over ssh; the session knows its peer's address"
