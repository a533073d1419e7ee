"""Users in Redis' ACL file format, and what each of them tries: allowed and refused must be alike, byte for byte.

One command per line. What is asked must not depend on the server (no INFO, no CLIENT LIST) where it is allowed.
"""

ACL_FILE = """\
user default on nopass ~* &* +@all
user app on >pw ~app:* &app.* +@all -@dangerous -@admin
user reader on >pw ~* resetchannels +@read +@connection -@dangerous
user splits on >pw %R~src:* %W~dst:* +@all
user picks on >pw ~own:* +@all -@admin (~shared:* +get +mget +set) (%W~log:* +lpush +xadd)
user strings on >pw ~* +@string +@hash -getdel -@slow +set +hgetall
user words on >pw allkeys +config|get +client|getname +object|encoding +acl|whoami +memory|usage -config|set
user first on >pw allkeys +select|0 +get +debug|sleep

user hears on >pw ~* resetchannels &news.* &exact +@pubsub +@connection
user scripts on >pw ~app:* &* +@all -flushall
user nothing on >pw
user anyone on nopass ~* +get +ping
user gone off >pw ~* &* +@all
user globs on >pw ~a?c ~x[0-9] ~lit\\*eral ~h[^e]llo +@read +@write -@dangerous
"""

#: Data that is there before anybody asks.
SETUP = """\
SET app:1 one
SET app:n 5
SET other two
SET src:s v
SET own:a mine
SET shared:a ours
RPUSH app:list c a b
RPUSH other:list 1 2
HSET app:h f v
ZADD src:z 1 a 2 b
SADD src:set a
SADD other:set b
SET abc v
SET x5 v
"""

CASES = {
    "app": """\
GET app:1
GET other
get OTHER
SET app:2 v
SET other v
MGET app:1 app:2
MGET app:1 other
MSET app:3 a app:4 b
MSET app:3 a other b
DEL other app:1
EXISTS app:1 other
RENAME app:3 app:5
RENAME app:5 other
COPY app:5 app:6
COPY app:5 other
INCR app:n
INCRBY other 5
LPUSH app:list x
LRANGE other:list 0 -1
RPOPLPUSH app:list other:list
LMOVE app:list app:list2 LEFT RIGHT
BLPOP app:list other:list 1
BLPOP app:list 1
SORT app:list ALPHA
SORT app:list ALPHA STORE app:sorted
SORT app:list BY nosort
SORT_RO app:list ALPHA
HGETALL app:h
ZUNIONSTORE app:z 1 app:zz
ZUNIONSTORE app:z 2 app:zz other
ZINTERCARD 2 app:zz other
XADD app:x 1-1 f v
XREAD COUNT 1 STREAMS app:x 0
XREAD COUNT 1 STREAMS app:x other:x 0 0
XGROUP CREATE app:x g 0
XGROUP CREATE other:x g 0 MKSTREAM
XREADGROUP GROUP g c STREAMS app:x >
OBJECT ENCODING app:1
OBJECT ENCODING other
TYPE app:1
FLUSHALL
FLUSHDB
KEYS *
CONFIG GET maxmemory
CONFIG SET maxmemory 0
CONFIG HELP
SHUTDOWN NOSAVE
REPLICAOF NO ONE
DEBUG SLEEP 0
MONITOR
CLIENT KILL TYPE normal
CLIENT LIST
CLIENT GETNAME
CLIENT SETNAME me
SWAPDB 0 1
SAVE
SCRIPT FLUSH
ACL WHOAMI
ACL LIST
ACL GETUSER app
ACL SETUSER app +@all
PUBLISH app.news hello
PUBLISH other.news hello
SPUBLISH app.news hello
SPUBLISH other.news hello
SELECT 1
SELECT 0
PING
ECHO hi
WAIT 0 0
NOSUCH app:1
GET
GET a b
MEMORY USAGE other
DUMP other
DBSIZE
OBJECT HELP
OBJECT NOSUCH x
EVAL "return 1" 0
EVAL "return KEYS[1]" 1 app:1
EVAL "return KEYS[1]" 1 other
EVAL_RO "return 1" 1 other
FCALL nosuch 1 other
BITOP AND app:b app:1 app:2
BITOP AND app:b other
PFADD app:p a
PFCOUNT app:p other
PFMERGE app:p other
GEOADD app:g 1 1 a
GEORADIUS app:g 1 1 10 km STORE other
GEOSEARCHSTORE app:g2 app:g FROMLONLAT 1 1 BYRADIUS 10 km
GEOSEARCHSTORE app:g2 other FROMLONLAT 1 1 BYRADIUS 10 km
LMPOP 2 app:list other:list LEFT
ZADD other 1 a
UNLINK app:6
TOUCH app:5 other
EXPIRE other 10
MIGRATE 127.0.0.1 1 "" 0 10 KEYS other
""",
    "reader": """\
GET app:1
SET app:1 v
GETDEL app:1
GETEX app:1
MGET app:1 other
KEYS *
SCAN 0 COUNT 1000 MATCH nothing
SORT_RO app:list ALPHA
SORT app:list ALPHA
HGETALL app:h
LRANGE app:list 0 -1
STRLEN app:1
BITCOUNT app:1
BITFIELD app:1 GET u8 0
BITFIELD_RO app:1 GET u8 0
PFCOUNT app:p
PUBLISH a b
SUBSCRIBE a
EVAL "return 1" 0
EVAL_RO "return 1" 0
MULTI
CLIENT GETNAME
CLIENT LIST
SELECT 0
INFO
ROLE
FLUSHALL
TTL app:1
DUMP nosuch
""",
    "splits": """\
GET src:s
GET dst:s
SET src:s v
SET dst:s v
SET dst:s v GET
SET src:s v GET
SET dst:s v NX
GETSET dst:s v
GETSET src:s v
APPEND dst:s v
APPEND src:s v
INCR dst:n
COPY src:s dst:c
COPY dst:c src:c
COPY src:s dst:c REPLACE
RENAME src:s dst:s
STRLEN dst:s
STRLEN src:s
EXISTS dst:s
EXISTS src:s
TYPE dst:s
TTL dst:s
DEL dst:s
DEL src:s
UNLINK dst:s
EXPIRE dst:s 100
EXPIRE src:s 100
SINTERSTORE dst:set src:set
SINTERSTORE src:set dst:set
SUNIONSTORE dst:set src:set dst:set
SINTER src:set
SINTER src:set dst:set
SMOVE src:set dst:set a
SADD dst:set a
SPOP dst:none
LPUSH dst:l a
LPOP dst:l
LPUSHX dst:l a
RPOPLPUSH src:l dst:l
ZRANGESTORE dst:z src:z 0 -1
ZRANGESTORE src:z src:z 0 -1
ZUNIONSTORE dst:z 1 src:z
ZUNION 1 dst:z
ZADD dst:z 1 a
ZADD dst:z INCR 1 a
ZINCRBY dst:z 1 a
BITFIELD src:s GET u8 0
BITFIELD dst:b GET u8 0
BITFIELD dst:b SET u8 0 1
BITFIELD src:s GET u8 0 SET u8 0 1
BITOP NOT dst:b src:s
BITOP NOT src:s src:s
SORT src:set ALPHA
SORT src:set ALPHA STORE dst:sorted
SORT src:set ALPHA STORE src:sorted
SORT src:set BY w_*
SORT src:set BY nosort GET x_*
SORT_RO src:set BY w_*
SORT_RO src:set ALPHA GET #
GEOADD dst:g 1 1 a
GEORADIUS src:g 1 1 1 km
GEORADIUS src:g 1 1 1 km STORE dst:g
GEORADIUS src:g 1 1 1 km STORE src:g
PFMERGE dst:p src:p
PFCOUNT src:p
PFADD dst:p a
XADD dst:x 1-1 f v
XLEN dst:x
XREAD STREAMS dst:x 0
XTRIM dst:x MAXLEN 0
XDEL dst:x 1-1
HSET dst:h f v
HGET dst:h f
HINCRBY dst:h n 1
HDEL dst:h f
GETEX dst:s
SETRANGE dst:s 0 v
EVAL "return 1" 1 src:s
EVAL "return 1" 1 dst:s
EVAL_RO "return 1" 1 src:s
EVAL_RO "return 1" 1 dst:s
WATCH src:s
WATCH dst:s
OBJECT ENCODING src:s
OBJECT ENCODING dst:s
SETEX src:s 10 v
PERSIST dst:s
MSETNX dst:1 a dst:2 b
MSETNX dst:1 a src:2 b
LMPOP 1 src:l LEFT
DUMP src:none
RESTORE dst:none 0 x
TOUCH src:s
TOUCH dst:s
""",
    "picks": """\
GET own:a
GET shared:a
GET other
MGET own:a own:b
MGET shared:a shared:b
MGET own:a shared:a
MGET own:a other
SET shared:b v
SET shared:b v GET
DEL shared:b
LPUSH log:a v
LPUSH log:a v w
RPUSH log:a v
LRANGE log:a 0 -1
XADD log:x 1-1 f v
XADD own:x 1-1 f v
XLEN log:x
CONFIG GET maxmemory
PUBLISH a b
FLUSHDB
COPY own:a shared:c
COPY shared:a own:c
""",
    "strings": """\
GET app:1
SET s v
GETDEL s
STRLEN s
HGET app:h f
HGETALL app:h
HSET app:h g w
HKEYS app:h
LPUSH l a
MSET a b
MGET a c
SETEX s 10 v
APPEND s v
LCS s s
PING
""",
    "words": """\
CONFIG GET maxmemory
config get maxmemory
CONFIG SET maxmemory 0
CONFIG REWRITE
CONFIG NOSUCH
CONFIG
CLIENT GETNAME
CLIENT ID x
CLIENT SETNAME a
CLIENT KILL a
OBJECT ENCODING app:1
OBJECT FREQ app:1
OBJECT REFCOUNT app:1
ACL WHOAMI
ACL LIST
ACL NOSUCH
MEMORY DOCTOR
GET app:1
COMMAND COUNT
SCRIPT LOAD x
""",
    "first": """\
SELECT 0
SELECT 1
select 0
SELECT 00
GET app:1
SET a b
DEBUG SLEEP 0
DEBUG JMAP
DEBUG
""",
    "hears": """\
PUBLISH news.a x
PUBLISH exact x
PUBLISH other x
PUBLISH news x
SPUBLISH news.a x
SPUBLISH other x
PUBSUB NUMPAT
SSUBSCRIBE other
SUBSCRIBE other
SUBSCRIBE news.a other
PSUBSCRIBE news.a*
PSUBSCRIBE *
PSUBSCRIBE exact news.a.*
GET app:1
PING
""",
    "scripts": """\
EVAL "return redis.call('GET', KEYS[1])" 1 app:1
EVAL "return redis.call('GET', KEYS[1])" 1 other
EVAL "return 1" 2 app:1 other
EVAL "return 1" 3 app:1
EVAL "return 1" x
EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 app:1
EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 other
EVALSHA_RO ffffffffffffffffffffffffffffffffffffffff 1 other
SCRIPT EXISTS ffffffffffffffffffffffffffffffffffffffff
FUNCTION LIST
FCALL nosuch 1 app:1
FCALL_RO nosuch 1 other
FLUSHALL
""",
    "nothing": """\
GET app:1
PING
MULTI
SELECT 0
CLIENT GETNAME
NOSUCH
AUTH nothing pw
""",
    "anyone": """\
GET app:1
SET a b
PING
ACL WHOAMI
""",
    "globs": """\
GET abc
GET abbc
GET x5
GET xx
GET lit*eral
GET literal
GET hallo
GET hello
MGET abc x5
MGET abc xx
SET x7 v
RENAME x7 x8
RENAME x8 y8
""",
}
