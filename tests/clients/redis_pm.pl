# libredis-perl (Redis.pm): what applications in Perl do. Usage: perl redis_pm.pl HOST PORT
use strict;
use warnings;
use Redis;

$| = 1;
my $where = "$ARGV[0]:$ARGV[1]";
sub connection { Redis->new(server => $where, reconnect => 10, every => 50_000, read_timeout => 20) }
sub text { my $v = shift; !defined $v ? 'undef' : ref $v eq 'ARRAY' ? '[' . join(', ', map { text($_) } @$v) . ']' : "'$v'" }
sub say_it { my $what = shift; print "$what: ", join(', ', map { text($_) } @_), "\n" }

my $r = connection();
$r->flushall;
say_it('set', $r->set('a', 1, 'EX', 100));
say_it('get', $r->get('a'));
say_it('incr', $r->incr('n'), $r->incrby('n', 5));
$r->hmset('h', x => 1, y => 'zwei');
my %h = $r->hgetall('h');
say_it('hgetall', map { $_, $h{$_} } sort keys %h);
$r->rpush('l', 'a', 'b', 'c');
say_it('lrange', $r->lrange('l', 0, -1));
$r->zadd('z', 1, 'one', 2.5, 'two');
say_it('zrange', $r->zrange('z', 0, -1, 'WITHSCORES'));
say_it('missing', $r->get('nothing'), [$r->mget('a', 'nothing')], $r->exists('nothing'));
for my $call (sub { $r->incr('l') }, sub { $r->nosuch('x') }) {
    eval { $call->(); 1 } or do { my $e = $@; $e =~ s/, at .*//s; say_it('error', $e) };
}

my @replies;
for my $i (0 .. 99) {
    $r->set("p:$i", $i, sub { push @replies, $_[0] });
    $r->get("p:$i", sub { push @replies, $_[0] });
}
$r->wait_all_responses;
say_it('pipeline', scalar @replies, $replies[-1]);

my $other = connection();
$r->watch('n'); $r->multi; $r->incr('n'); $r->get('n');
say_it('transaction', $r->exec);
$r->watch('n'); $other->incr('n'); $r->multi; $r->set('n', 0);
my @refused = $r->exec;
say_it('watch', scalar(grep { defined } @refused), $r->get('n'));

my $sha = $r->script_load("return redis.call('incrby', KEYS[1], ARGV[1])");
say_it('evalsha', $r->evalsha($sha, 1, 'n', 5), [$r->script_exists($sha)]);
$r->script_flush;
eval { $r->evalsha('0' x 40, 0); 1 } or do { my $e = $@; $e =~ s/, at .*//s; say_it('noscript', $e) };
say_it('eval', $r->eval("return {KEYS[1], ARGV[1]}", 1, 'k', 'v'));

my $listener = connection();
my @heard;
$listener->subscribe('news', sub { my ($message, $topic) = @_; push @heard, "$topic=$message" });
say_it('published', $other->publish('news', 'hello'));
$listener->wait_for_messages(5) until @heard;
say_it('heard', @heard);
$listener->unsubscribe('news', sub { });

$other->rpush('jobs', 1, 2);
say_it('queue', [$r->blpop('jobs', 'other', 10)], [$r->brpop('jobs', 10)]);
my (%keys, $cursor, $found);
$cursor = 0;
do { ($cursor, $found) = $r->scan($cursor, 'MATCH', 'p:*', 'COUNT', 17); $keys{$_} = 1 for @$found } while $cursor;
say_it('scan', scalar keys %keys);

$r->client_setname('victim');
say_it('name', $r->client_getname);
say_it('kill', $other->client_kill('ID', $r->client_id));
say_it('goes on', $r->get('a'));
$r->select(3);
say_it('another database', $r->get('a'));
$r->quit;
