/* hiredis 0.14 (libhiredis-dev), RESP2 and synchronous: what programs in C do. Usage: hiredis HOST PORT */
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

static const char* host;
static int port;

static redisContext* open_connection(void) {
  struct timeval timeout = {20, 0};
  redisContext* c = redisConnectWithTimeout(host, port, timeout);
  if (c == NULL || c->err) exit(1);
  redisSetTimeout(c, timeout);
  return c;
}

static void print(const redisReply* reply) {
  if (reply == NULL) {
    printf(" (connection lost)");
  } else if (reply->type == REDIS_REPLY_ARRAY) {
    printf(" [");
    for (size_t i = 0; i < reply->elements; ++i) print(reply->element[i]);
    printf(" ]");
  } else if (reply->type == REDIS_REPLY_INTEGER) {
    printf(" %lld", reply->integer);
  } else {
    printf(" %s", reply->type == REDIS_REPLY_NIL ? "nil" : reply->str);
  }
}

static void say(const char* what, redisReply* reply) {
  printf("%s:", what);
  print(reply);
  printf("\n");
  if (reply != NULL) freeReplyObject(reply);
}

#define DO(what, ...) say(what, redisCommand(c, __VA_ARGS__))

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  host = argv[1];
  port = atoi(argv[2]);
  redisContext* c = open_connection();
  redisContext* other = open_connection();
  freeReplyObject(redisCommand(c, "FLUSHALL"));
  DO("set", "SET %s %b", "a", "1\0002", (size_t)3);
  DO("get", "STRLEN a");
  DO("incr", "INCRBY n %d", 5);
  DO("hash", "HSET h x 1 y 2");
  DO("hget", "HMGET h x nothing y");
  DO("push", "RPUSH l a b c");
  DO("lrange", "LRANGE l 0 -1");
  DO("missing", "GET nothing");
  DO("wrong type", "INCR l");
  DO("unknown", "NOSUCH x");
  DO("arity", "GET");

  for (int i = 0; i < 100; ++i) {
    redisAppendCommand(c, "SET p:%d %d", i, i);
    redisAppendCommand(c, "GET p:%d", i);
  }
  redisReply* reply = NULL;
  for (int i = 0; i < 200; ++i) {
    if (redisGetReply(c, (void**)&reply) != REDIS_OK) return 1;
    if (i < 199) freeReplyObject(reply);
  }
  say("pipeline", reply);

  DO("watch", "WATCH n");
  DO("multi", "MULTI");
  DO("queued", "INCR n");
  DO("exec", "EXEC");
  DO("watch", "WATCH n");
  freeReplyObject(redisCommand(other, "INCR n"));
  DO("multi", "MULTI");
  DO("queued", "SET n 0");
  DO("refused", "EXEC");
  DO("after", "GET n");

  redisReply* sha = redisCommand(c, "SCRIPT LOAD %s", "return redis.call('incrby', KEYS[1], ARGV[1])");
  if (sha == NULL || sha->type != REDIS_REPLY_STRING) return 1;
  DO("evalsha", "EVALSHA %s 1 n 5", sha->str);
  DO("flush", "SCRIPT FLUSH");
  DO("noscript", "EVALSHA 0000000000000000000000000000000000000000 0");
  freeReplyObject(sha);

  redisContext* listener = open_connection();
  say("subscribe", redisCommand(listener, "SUBSCRIBE news"));
  say("publish", redisCommand(other, "PUBLISH news %s", "hello"));
  if (redisGetReply(listener, (void**)&reply) != REDIS_OK) return 1;
  say("message", reply);
  redisFree(listener);

  redisAppendCommand(c, "BLPOP jobs other 20");
  int sent = 0;
  while (!sent) redisBufferWrite(c, &sent);
  say("push", redisCommand(other, "RPUSH jobs one"));
  if (redisGetReply(c, (void**)&reply) != REDIS_OK) return 1;
  say("job", reply);
  DO("timeout", "BLPOP jobs 1");

  redisReply* id = redisCommand(c, "CLIENT ID");
  if (id == NULL) return 1;
  say("kill", redisCommand(other, "CLIENT KILL ID %lld", id->integer));
  freeReplyObject(id);
  DO("broken", "GET n");
  printf("reconnect: %d\n", redisReconnect(c));
  DO("goes on", "GET n");
  DO("select", "SELECT 3");
  DO("another database", "GET n");
  redisFree(c);
  redisFree(other);
  return 0;
}
