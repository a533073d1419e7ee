// redigo (golang-github-gomodule-redigo-dev): what applications in Go do. Usage: redigo HOST PORT
package main

import (
	"fmt"
	"net"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

func say(what string, values ...interface{}) {
	fmt.Printf("%s:", what)
	for _, value := range values {
		if bytes, ok := value.([]byte); ok {
			value = string(bytes)
		}
		fmt.Printf(" %v", value)
	}
	fmt.Println()
}

var add = redis.NewScript(1, "return redis.call('incrby', KEYS[1], ARGV[1])")

func types(c redis.Conn) {
	c.Do("FLUSHALL")
	say("set", first(c.Do("SET", "a", 1, "EX", 100)))
	say("get", first(redis.String(c.Do("GET", "a"))))
	say("incr", first(redis.Int(c.Do("INCR", "n"))), first(redis.Int(c.Do("INCRBY", "n", 5))))
	c.Do("HMSET", redis.Args{}.Add("h").AddFlat(map[string]int{"x": 1, "y": 2})...)
	say("hgetall", first(redis.IntMap(c.Do("HGETALL", "h"))))
	c.Do("RPUSH", "l", "a", "b", "c")
	say("lrange", first(redis.Strings(c.Do("LRANGE", "l", 0, -1))))
	c.Do("ZADD", "z", 1, "one", 2.5, "two")
	say("zrange", first(redis.Strings(c.Do("ZRANGE", "z", 0, -1, "WITHSCORES"))))
	_, err := redis.String(c.Do("GET", "nothing"))
	say("missing", err, first(redis.Strings(c.Do("MGET", "a", "nothing"))))
	for _, name := range []string{"INCR", "NOSUCH", "SETNX"} {
		_, err := c.Do(name, "l")
		say("error", err)
	}
}

func first(value interface{}, err error) interface{} {
	if err != nil {
		return err
	}
	if bytes, ok := value.([]byte); ok {
		return string(bytes)
	}
	return value
}

func pipelines(c redis.Conn) {
	for i := 0; i < 100; i++ {
		c.Send("SET", fmt.Sprintf("p:%d", i), i)
		c.Send("GET", fmt.Sprintf("p:%d", i))
	}
	c.Flush()
	var last interface{}
	for i := 0; i < 200; i++ {
		last = first(c.Receive())
	}
	say("pipeline", last)
}

func transactions(c, other redis.Conn) {
	c.Do("WATCH", "n")
	c.Send("MULTI")
	c.Send("INCR", "n")
	c.Send("GET", "n")
	reply, err := redis.Values(c.Do("EXEC"))
	say("transaction", len(reply), reply[0], string(reply[1].([]byte)), err)
	c.Do("WATCH", "n")
	other.Do("INCR", "n")
	c.Send("MULTI")
	c.Send("SET", "n", 0)
	refused, err := c.Do("EXEC")
	say("watch", refused, err, first(c.Do("GET", "n")))
}

func scripts(c redis.Conn) {
	say("script", first(add.Do(c, "n", 5)), first(add.Do(c, "n", 6)))
	c.Do("SCRIPT", "FLUSH")
	say("script after flush", first(add.Do(c, "n", 7)))
	_, err := c.Do("EVALSHA", "0000000000000000000000000000000000000000", 0)
	say("noscript", err)
}

func pubsub(pool *redis.Pool, other redis.Conn) {
	listener := redis.PubSubConn{Conn: pool.Get()}
	defer listener.Close()
	listener.Subscribe("news")
	listener.PSubscribe("n*")
	for heard := 0; heard < 6; heard++ {
		switch m := listener.Receive().(type) {
		case redis.Subscription:
			say("subscription", m.Kind, m.Channel, m.Count)
			if m.Kind == "psubscribe" {
				other.Do("PUBLISH", "news", "hello")
			}
		case redis.Message:
			say("message", m.Channel, m.Pattern, string(m.Data))
			if m.Pattern != "" {
				listener.Unsubscribe()
				listener.PUnsubscribe()
			}
		case error:
			say("broken", m)
		}
	}
}

func queue(pool *redis.Pool, other redis.Conn) {
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		defer group.Done()
		worker := pool.Get()
		defer worker.Close()
		for i := 0; i < 2; i++ {
			say("job", first(redis.Strings(worker.Do("BLPOP", "jobs", "other", 20))))
		}
		say("timeout", first(worker.Do("BLPOP", "jobs", 1)))
	}()
	other.Do("RPUSH", "jobs", 1)
	other.Do("RPUSH", "jobs", 2)
	group.Wait()
}

func scan(c redis.Conn) {
	keys, cursor := map[string]bool{}, 0
	for {
		page, err := redis.Values(c.Do("SCAN", cursor, "MATCH", "p:*", "COUNT", 17))
		if err != nil {
			say("scan", err)
			return
		}
		var found []string
		redis.Scan(page, &cursor, &found)
		for _, key := range found {
			keys[key] = true
		}
		if cursor == 0 {
			break
		}
	}
	say("scan", len(keys))
}

func pools(pool *redis.Pool) {
	var group sync.WaitGroup
	var lock sync.Mutex
	var seen []string
	for i := 0; i < 20; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			c := pool.Get()
			defer c.Close()
			c.Do("SET", fmt.Sprintf("t:%d", i), i)
			value, _ := redis.String(c.Do("GET", fmt.Sprintf("t:%d", i)))
			lock.Lock()
			seen = append(seen, value)
			lock.Unlock()
		}(i)
	}
	group.Wait()
	sort.Strings(seen)
	say("pool", seen)
}

func killed(pool *redis.Pool, other redis.Conn) {
	c := pool.Get()
	id, _ := redis.Int(c.Do("CLIENT", "ID"))
	say("kill", first(other.Do("CLIENT", "KILL", "ID", id)))
	_, err := c.Do("GET", "a")
	say("broken", err != nil)
	c.Close()
	c = pool.Get()
	defer c.Close()
	say("goes on", first(c.Do("GET", "a")))
}

func main() {
	address := net.JoinHostPort(os.Args[1], os.Args[2])
	pool := &redis.Pool{MaxIdle: 3, MaxActive: 8, Wait: true, IdleTimeout: time.Minute,
		Dial: func() (redis.Conn, error) { return redis.Dial("tcp", address, redis.DialReadTimeout(30*time.Second)) },
		TestOnBorrow: func(c redis.Conn, _ time.Time) error {
			_, err := c.Do("PING")
			return err
		}}
	c, other := pool.Get(), pool.Get()
	types(c)
	pipelines(c)
	transactions(c, other)
	scripts(c)
	pubsub(pool, other)
	queue(pool, other)
	scan(c)
	pools(pool)
	killed(pool, other)
	elsewhere, err := redis.Dial("tcp", address, redis.DialDatabase(3), redis.DialClientName("somebody"))
	if err == nil {
		say("another database", first(elsewhere.Do("GET", "a")), first(elsewhere.Do("CLIENT", "GETNAME")))
	}
}
