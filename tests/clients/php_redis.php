<?php
// php-redis (the C extension): what applications in PHP do. Usage: php php_redis.php HOST PORT
[, $host, $port] = $argv;
function connect() {
    global $host, $port;
    $r = new Redis();
    $r->connect($host, (int)$port, 10);
    return $r;
}
function say($what, $value) {
    echo $what, ': ', json_encode($value), "\n";
}
if (($argv[3] ?? '') === 'publish') {
    $fresh = connect();
    while ($fresh->publish('news', 'hello') === 0) usleep(10000);
    $fresh->publish('news', 'bye');
    exit(0);
}
$r = connect();
$r->flushAll();
say('set', $r->set('a', '1', ['ex' => 100]));
say('get', $r->get('a'));
say('incr', [$r->incr('n'), $r->incr('n'), $r->incrBy('n', 5)]);
$r->hMSet('h', ['x' => 1, 'y' => 'zwei']);
$h = $r->hGetAll('h');
ksort($h);
say('hgetall', $h);
$r->rPush('l', 'a', 'b', 'c');
say('lrange', $r->lRange('l', 0, -1));
$r->zAdd('z', 1, 'one', 2.5, 'two');
say('zrange', $r->zRange('z', 0, -1, true));
say('missing', [$r->get('nothing'), $r->mGet(['a', 'nothing']), $r->exists('nothing'), $r->ttl('nothing')]);
say('stream', [$r->xAdd('x', '1-1', ['f' => 'v']), $r->xRange('x', '-', '+')]);

$r->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP);
$r->set('object', ['a' => [1, 2]]);
say('serialised', $r->get('object'));
$r->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_NONE);

say('wrong type', [$r->incr('l'), $r->getLastError()]);
$r->clearLastError();
say('unknown', [$r->rawCommand('NOSUCH', 'x'), $r->getLastError()]);
$r->clearLastError();

$pipe = $r->multi(Redis::PIPELINE);
for ($i = 0; $i < 100; $i++) $pipe->set("p:$i", $i)->get("p:$i");
$replies = $pipe->exec();
say('pipeline', [count($replies), array_slice($replies, -4)]);

$r->watch('n');
say('transaction', $r->multi()->incr('n')->get('n')->exec());
$other = connect();
$r->watch('n');
$other->incr('n');
say('watch', $r->multi()->set('n', 0)->exec());
say('after', $r->get('n'));
say('discard', [$r->multi()->set('n', 0)->discard(), $r->get('n')]);

$script = "return redis.call('incrby', KEYS[1], ARGV[1])";
$sha = $r->script('load', $script);
say('evalsha', [$r->evalSha($sha, ['n', 5], 1), $r->script('exists', $sha)]);
$r->script('flush');
say('noscript', [$r->evalSha(sha1('something else'), ['n', 5], 1), $r->getLastError()]);
$r->clearLastError();
say('eval', $r->eval($script, ['n', 7], 1));

$listener = connect();
$listener->setOption(Redis::OPT_READ_TIMEOUT, 10);
$messages = [];
$talker = connect();
$publisher = proc_open([PHP_BINARY, __FILE__, $host, $port, 'publish'], [], $pipes);
try {
    $listener->subscribe(['news'], function ($redis, $channel, $message) use (&$messages) {
        $messages[$message] = $channel;
        if ($message === 'bye') throw new Exception('the only way out of subscribe()');
    });
} catch (Exception $e) {
    $listener->close();
}
proc_close($publisher);
say('messages', $messages);

$talker->rPush('jobs', 1, 2);
$worker = connect();
say('queue', [$worker->blPop(['jobs', 'other'], 10), $worker->brPop(['jobs'], 10), $worker->blPop(['jobs'], 1)]);

$r->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
$keys = [];
$cursor = null;
while ($found = $r->scan($cursor, 'p:*', 17)) foreach ($found as $key) $keys[$key] = true;
say('scan', count($keys));

$persistent = new Redis();
$persistent->pconnect($host, (int)$port, 10, 'one');
say('persistent', [$persistent->ping(), $persistent->get('a')]);

$r->client('setname', 'worker');
say('name', $r->client('getname'));
say('kill', $other->client('kill', $r->rawCommand('CLIENT', 'INFO') ? explode(' ', explode('addr=', $r->rawCommand('CLIENT', 'INFO'))[1])[0] : ''));
try {
    say('goes on', $r->get('a'));
} catch (RedisException $e) {
    say('goes on', connect()->get('a'));
}
$r = connect();
$r->select(3);
say('another database', $r->get('a'));
