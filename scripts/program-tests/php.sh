# PHP: the built-in server with workers, and streams as client.
need php php-cli
version=$(php -v | sed -n '1s/^\(PHP [^ ]*\).*/\1/p')
start_daemons
mkdir "$work/www"
echo '<?php echo strrev(file_get_contents("php://input"));' >"$work/www/index.php"
serve env PHP_CLI_SERVER_WORKERS=3 php -S $S:8080 -t "$work/www"
wait_for_listener 8080
on_client php -r '
    for ($i = 0; $i < 20; $i++) {
        $body = bin2hex(random_bytes(50000));
        $options = ["http" => ["method" => "POST", "content" => $body, "header" => "Content-Type: text/plain"]];
        if (file_get_contents($argv[1], false, stream_context_create($options)) !== strrev($body)) exit(1);
    }' "http://$S:8080/" >"$work/output" 2>&1 || fail "the client: $(tail -n 1 "$work/output")"
expect_crossed 4000000
note="works: built-in server with 3 workers, streams as client"
