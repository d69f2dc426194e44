//go:build unix

package natstest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastnats"
)

// BenchmarkFailover measures how long no message is accepted after the leader of three servers was
// killed, or told to stop: by a broker, and by JetStream itself, which is asked all the time. It
// prints the medians and the longest times.
func BenchmarkFailover(b *testing.B) {
	b.Run("killed", func(b *testing.B) { benchmarkFailover(b, syscall.SIGKILL) })
	b.Run("stopped", func(b *testing.B) { benchmarkFailover(b, syscall.SIGTERM) })
}

func benchmarkFailover(b *testing.B, end syscall.Signal) {
	processes := startProcesses(b, 3)
	var addresses []string
	for _, p := range processes {
		addresses = append(addresses, p.address())
	}
	urls := strings.Join(addresses, ",")
	e := newEngine(b, broadcastnats.Options{URL: urls, Replicas: 3})
	broker, err := broadcast.New[string](broadcast.WithEngine(e), broadcast.WithPublishTimeout(time.Minute))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, broker.Close()) })
	require.NoError(b, broker.Publish(b.Context(), "chat", "first"))
	js := admin(b, urls)
	var all, bare []time.Duration
	for b.Loop() {
		awaitReplicas(b, js)
		stream, err := js.Stream(b.Context(), "broadcast")
		require.NoError(b, err)
		name := stream.CachedInfo().Cluster.Leader
		i := slices.IndexFunc(processes, func(p *process) bool { return p.name() == name })
		require.GreaterOrEqual(b, i, 0, name)
		exited := make(chan struct{})
		pauses := make(chan time.Duration, 1)
		go func() {
			pauses <- longestPause(exited, func() bool {
				ctx, cancel := context.WithTimeout(b.Context(), 100*time.Millisecond)
				defer cancel()
				_, err := js.Publish(ctx, "broadcast.p.bare", nil)
				return err == nil
			})
		}()
		go func() {
			time.Sleep(100 * time.Millisecond)
			processes[i].signal(end)
			_ = processes[i].command.Wait() // it was killed
			close(exited)
		}()
		all = append(all, longestPause(exited, func() bool {
			return broker.Publish(b.Context(), "chat", "message") == nil
		}))
		bare = append(bare, <-pauses)
		processes[i].start()
	}
	report(b, "ms", all)
	report(b, "bare-ms", bare)
}

// longestPause publishes until a server has exited, and then until another message is accepted. It
// returns the longest time without an accepted one.
func longestPause(exited <-chan struct{}, publish func() (accepted bool)) (longest time.Duration) {
	accepted := time.Now()
	for last := false; ; {
		select {
		case <-exited:
			last = true
		default:
		}
		if !publish() {
			continue
		}
		longest = max(longest, time.Since(accepted))
		if accepted = time.Now(); last {
			return longest
		}
	}
}

// BenchmarkDeath measures how long the device of a broker is present after its connection was cut.
// It prints the median and the longest time.
func BenchmarkDeath(b *testing.B) {
	s := startServer(b, options(b))
	proxy := newProxy(b, s.Addr().String())
	here, there := newBroker(b, s.ClientURL()), newBroker(b, proxy.url())
	reader, err := here.SubscribeAnonymous("chat", broadcast.WithPresence())
	require.NoError(b, err)
	_, err = there.Subscribe("chat", "device")
	require.NoError(b, err)
	await := func(kind broadcast.Kind) {
		ctx, cancel := context.WithTimeout(b.Context(), settle)
		defer cancel()
		d, err := reader.Next(ctx)
		require.NoError(b, err)
		require.Equal(b, kind, d.Kind)
	}
	var all []time.Duration
	for b.Loop() {
		await(broadcast.Joined)
		time.Sleep(time.Duration(len(all)%10) * 100 * time.Millisecond) // wherever between two heartbeats
		begin := time.Now()
		proxy.setCut(true)
		await(broadcast.Left)
		all = append(all, time.Since(begin))
		proxy.setCut(false)
	}
	report(b, "ms", all)
}

// report reports the median and the longest time.
func report(b *testing.B, unit string, all []time.Duration) {
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Milliseconds()), unit+"/median")
	b.ReportMetric(float64(all[len(all)-1].Milliseconds()), unit+"/longest")
}

// startProcesses starts a cluster of servers in processes of their own, which the test stops.
func startProcesses(t testing.TB, n int) (all []*process) {
	t.Helper()
	program := buildServer(t)
	ports := freePorts(t, 2*n)
	var routes []string
	for _, port := range ports[:n] {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	for i, port := range ports[n:] {
		p := &process{t: t, program: program, store: t.TempDir(), port: port}
		p.args = []string{
			"--name", p.name(), "--cluster_name", "cluster", "--cluster", routes[i], "--routes", strings.Join(routes, ","),
		}
		p.start()
		t.Cleanup(p.kill)
		all = append(all, p)
	}
	return all
}

// name returns the name of a server of a cluster.
func (p *process) name() string { return fmt.Sprint("server", p.port) }
