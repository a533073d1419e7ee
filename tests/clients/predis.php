<?php
// predis (php-nrk-predis): what applications in PHP do. Usage: php predis.php HOST PORT
require 'Predis/autoload.php';
[$_, $host, $port] = $argv;
$where = ['scheme' => 'tcp', 'host' => $host, 'port' => (int)$port, 'read_write_timeout' => 20];
function say($what, $value) {
    echo $what, ': ', json_encode($value), "\n";
}
$r = new Predis\Client($where);
$r->flushall();
say('set', (string)$r->set('a', '1', 'EX', 100));
say('get', $r->get('a'));
say('incr', [$r->incr('n'), $r->incrby('n', 5)]);
$r->hmset('h', ['x' => 1, 'y' => 'zwei']);
$h = $r->hgetall('h');
ksort($h);
say('hgetall', $h);
$r->rpush('l', ['a', 'b', 'c']);
say('lrange', $r->lrange('l', 0, -1));
$r->zadd('z', ['one' => 1, 'two' => 2.5]);
say('zrange', $r->zrange('z', 0, -1, 'WITHSCORES'));
say('missing', [$r->get('nothing'), $r->mget('a', 'nothing'), $r->exists('nothing')]);
foreach ([['incr', 'l'], ['get']] as $call) {
    try {
        $r->executeRaw($call, $failed);
        say('error', [$failed, $r->executeRaw($call)]);
    } catch (Predis\Response\ServerException $e) {
        say('error', $e->getMessage());
    }
}
$replies = $r->pipeline(function ($pipe) {
    for ($i = 0; $i < 100; $i++) $pipe->set("p:$i", $i)->get("p:$i");
});
say('pipeline', [count($replies), $replies[199]]);
$other = new Predis\Client($where);
$replies = $r->transaction(['cas' => true, 'watch' => 'n', 'retry' => 2], function ($tx) {
    $n = $tx->get('n');
    $tx->multi();
    $tx->set('n', $n + 1);
    $tx->get('n');
});
say('transaction', array_map('strval', $replies));
$tries = 0;
$replies = $r->transaction(['cas' => true, 'watch' => 'n', 'retry' => 2], function ($tx) use ($other, &$tries) {
    $n = $tx->get('n');
    if ($tries++ === 0) $other->incr('n');
    $tx->multi();
    $tx->set('n', $n + 1);
});
say('watch', [$tries, array_map('strval', $replies), $r->get('n')]);

class AddTo extends Predis\Command\ScriptCommand {
    public function getKeysCount() { return 1; }
    public function getScript() { return "return redis.call('incrby', KEYS[1], ARGV[1])"; }
}
$r->getProfile()->defineCommand('addto', 'AddTo');
say('script', [$r->addto('n', 5), $r->addto('n', 6)]);
$r->script('flush');
say('script after flush', $r->addto('n', 7));

$listener = new Predis\Client($where);
$loop = $listener->pubSubLoop();
$loop->subscribe('news');
$heard = [];
foreach ($loop as $message) {
    $heard[] = [$message->kind, $message->channel, $message->payload];
    if ($message->kind === 'subscribe') $other->publish('news', 'hello');
    if ($message->kind === 'message') $loop->unsubscribe();
}
say('heard', $heard);

$other->rpush('jobs', [1, 2]);
say('queue', [$r->blpop(['jobs', 'other'], 10), $r->brpop(['jobs'], 10), $r->blpop(['jobs'], 1)]);
$keys = [];
foreach (new Predis\Collection\Iterator\Keyspace($r, 'p:*', 17) as $key) $keys[$key] = true;
say('scan', count($keys));

$id = $r->executeRaw(['CLIENT', 'ID']);
say('kill', $other->executeRaw(['CLIENT', 'KILL', 'ID', $id]));
try {
    say('goes on', $r->get('a'));
} catch (Predis\Connection\ConnectionException $e) {
    $r->disconnect();
    say('goes on', $r->get('a'));
}
$elsewhere = new Predis\Client($where + ['database' => 3]);
say('another database', $elsewhere->get('a'));
