// Command probe is the program of the lab's pods.
//
//	probe serve [-name NAME] [-tcp 80,81] [-udp 80,81] [-control 9099]
//	probe try [-timeout 1s] tcp://10.244.1.2:80 udp://[fd00::2]:53 ...
//
// serve answers on its ports with its name (the pod's name by default) and probes others when it is asked to.
// try probes from where it is started and exits with status 1 if a target did not answer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/probe"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "serve" {
		return serve(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "try" {
		return try(ctx, args[1:])
	}
	return errors.New("usage: probe serve [flags], or probe try [flags] tcp://HOST:PORT udp://HOST:PORT")
}

func serve(ctx context.Context, args []string) error {
	name := os.Getenv("POD_NAME")
	if name == "" {
		// A pod's host name is its own name.
		name, _ = os.Hostname()
	}
	var cfg probe.Config
	fs := flag.NewFlagSet("serve", flag.ExitOnError)
	fs.StringVar(&cfg.Name, "name", name, "name to answer with")
	fs.IntVar(&cfg.Control, "control", probe.ControlPort, "port of the control server")
	fs.Func("tcp", "comma-separated TCP ports to answer on", func(s string) (err error) {
		cfg.TCP, err = ports(s)
		return err
	})
	fs.Func("udp", "comma-separated UDP ports to answer on", func(s string) (err error) {
		cfg.UDP, err = ports(s)
		return err
	})
	if err := fs.Parse(args); err != nil {
		return err
	}
	s, err := probe.Listen(ctx, cfg)
	if err != nil {
		return err
	}
	return s.Serve(ctx)
}

func ports(list string) ([]int, error) {
	var all []int
	for s := range strings.SplitSeq(list, ",") {
		port, err := strconv.ParseUint(s, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("port %q: want 1 to 65535", s)
		}
		all = append(all, int(port))
	}
	return all, nil
}

func try(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("try", flag.ExitOnError)
	timeout := fs.Duration("timeout", probe.DefaultTimeout, "how long to wait for each answer")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var targets []probe.Target
	for _, arg := range fs.Args() {
		t, err := target(arg)
		if err != nil {
			return err
		}
		t.TimeoutMs = int(*timeout / time.Millisecond)
		targets = append(targets, t)
	}
	silent := 0
	for i, r := range probe.TryAll(ctx, targets) {
		if r.Open {
			fmt.Printf("%s answered by %s in %d µs\n", fs.Arg(i), r.AnsweredBy, r.Micros)
			continue
		}
		silent++
		fmt.Printf("%s did not answer: %s\n", fs.Arg(i), r.Error)
	}
	if silent > 0 {
		return fmt.Errorf("%d of %d targets did not answer", silent, len(targets))
	}
	return nil
}

func target(s string) (probe.Target, error) {
	u, err := url.Parse(s)
	if err != nil {
		return probe.Target{}, err
	}
	port, err := ports(u.Port())
	if err != nil {
		return probe.Target{}, fmt.Errorf("target %s: %w", s, err)
	}
	return probe.Target{Host: u.Hostname(), Port: port[0], Protocol: u.Scheme}, nil
}
