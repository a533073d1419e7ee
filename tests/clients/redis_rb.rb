# ruby-redis: what applications in Ruby do. Usage: ruby redis_rb.rb HOST PORT
require "redis"

WHERE = { host: ARGV[0], port: ARGV[1].to_i, timeout: 20 }
Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=)

def say(what, value)
  puts "#{what}: #{value.inspect}"
end

r = Redis.new(WHERE)
r.flushall
say "set", r.set("a", "1", ex: 100)
say "get", r.get("a")
say "incr", [r.incr("n"), r.incrby("n", 5)]
r.mapped_hmset("h", { "x" => 1, "y" => "zwei" })
say "hgetall", r.hgetall("h").sort
r.rpush("l", %w[a b c])
say "lrange", r.lrange("l", 0, -1)
r.zadd("z", [[1, "one"], [2.5, "two"]])
say "zrange", r.zrange("z", 0, -1, with_scores: true)
r.xadd("x", { "f" => "v" }, id: "1-1")
say "xrange", r.xrange("x")
say "missing", [r.get("nothing"), r.mget("a", "nothing"), r.exists?("nothing"), r.ttl("nothing")]

[-> { r.incr("l") }, -> { r.call("NOSUCH", "x") }, -> { r.call("GET") }].each do |call|
  begin
    call.call
  rescue Redis::CommandError => e
    say "error", e.message
  end
end

replies = r.pipelined { |pipe| 100.times { |i| pipe.set("p:#{i}", i); pipe.get("p:#{i}") } }
say "pipeline", [replies.size, replies.last(4)]

say "transaction", r.multi { |tx| tx.incr("n"); tx.get("n") }
other = Redis.new(WHERE)
r.watch("n") do
  other.incr("n")
  say "watch", r.multi { |tx| tx.set("n", 0) }
end
say "after", r.get("n")
r.watch("n") do
  say "watch", r.multi { |tx| tx.incr("n") }
end

sha = r.script(:load, "return redis.call('incrby', KEYS[1], ARGV[1])")
say "evalsha", [r.evalsha(sha, ["n"], [5]), r.script(:exists, sha)]
r.script(:flush)
begin
  r.evalsha("0" * 40, [], [])
rescue Redis::CommandError => e
  say "noscript", e.message
end
say "eval", r.eval("return {KEYS[1], ARGV[1]}", ["k"], ["v"])

heard = []
listener = Thread.new do
  Redis.new(WHERE).subscribe("news") do |on|
    on.subscribe { |channel, count| heard << [:subscribe, channel, count] }
    on.message do |channel, message|
      heard << [:message, channel, message]
      Thread.current[:redis] = nil
      break
    end
  end
rescue LocalJumpError
  nil
end
sleep 0.01 until heard.any?
other.publish("news", "hello")
listener.join(20)
say "heard", heard

worker = Thread.new { own = Redis.new(WHERE); 2.times.map { own.blpop("jobs", "other", timeout: 20) } }
2.times { |n| other.rpush("jobs", n) }
say "queue", worker.value
say "timeout", r.blpop("jobs", timeout: 1)
say "scan", r.scan_each(match: "p:*", count: 17).to_a.uniq.size

r.call("CLIENT", "SETNAME", "victim")
say "name", r.call("CLIENT", "GETNAME")
say "kill", other.call("CLIENT", "KILL", "ID", r.call("CLIENT", "ID"))
say "goes on", r.get("a")
say "another database", Redis.new(WHERE.merge(db: 3)).get("a")
say "without connection", r.without_reconnect { r.ping }
