package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/host"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/manifest"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// Up builds what a cluster needs, starts it, and returns once pods can run on all of its nodes. A cluster with the
// same options that is already up is returned as it is. What is left of a dead one is removed first. If the start
// fails or the context ends, everything it made is removed again, except the logs.
func Up(ctx context.Context, dirs Dirs, opts Options, p *progress.Printer) (*Cluster, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	dirs, err := dirs.clean()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, host.ErrNotRoot
	}
	unlock, err := lockState(dirs.State)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c, err := running(ctx, dirs, opts, p); c != nil || err != nil {
		return c, err
	}
	progs, err := build(ctx, dirs, p)
	if err != nil {
		return nil, err
	}
	if err := host.CheckKernel(ctx, opts.IPFamily != IPv4); err != nil {
		return nil, err
	}
	c, err := start(ctx, dirs, opts, progs, p)
	if err == nil {
		return c, nil
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	p.Step("the start failed: removing what it made (the logs stay in %s)", dirs.logs())
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	return nil, errors.Join(err, down(clean, dirs))
}

// running returns the cluster that is up, if it is the one asked for, or removes what is left of a dead one.
func running(ctx context.Context, dirs Dirs, opts Options, p *progress.Printer) (*Cluster, error) {
	c, err := Load(dirs.State)
	if err == nil {
		err = c.Healthy(ctx)
	}
	switch {
	case err == nil && c.Options != opts:
		return nil, fmt.Errorf("a cluster with other options is up in %s: stop it first", dirs.State)
	case err == nil:
		p.Step("the cluster is up already")
		return c, nil
	}
	left, findErr := leftovers(dirs)
	if findErr != nil {
		return nil, findErr
	}
	if len(left) > 0 {
		p.Step("removing what is left of a former cluster (%v)", err)
		return nil, down(ctx, dirs)
	}
	return nil, nil
}

// starter is a start in progress.
type starter struct {
	dirs     Dirs
	programs programs
	progress *progress.Printer
	launcher launcher
	cluster  manifest.Cluster
	state    state
}

func start(ctx context.Context, dirs Dirs, opts Options, progs programs, p *progress.Printer) (*Cluster, error) {
	// The logs of the last start were kept until now.
	if err := os.RemoveAll(dirs.logs()); err != nil {
		return nil, err
	}
	s := &starter{
		dirs:     dirs,
		programs: progs,
		progress: p,
		launcher: launcher{logs: dirs.logs(), env: processEnv(dirs.State, progs.path)},
		state:    state{Options: opts, Path: progs.path, Kubectl: progs.bin["kubectl"]},
	}
	begin := time.Now()
	for _, step := range []func(context.Context) error{s.machines, s.configure, s.storeAndRuntimes, s.nodes} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	s.state.Up = true
	if err := s.state.write(dirs.State); err != nil {
		return nil, err
	}
	p.Step("%d nodes are ready, %.1f s after the start of their machines", opts.Nodes, time.Since(begin).Seconds())
	return newCluster(dirs, s.state), nil
}

// machines starts the machines and connects them.
func (s *starter) machines(ctx context.Context) error {
	s.progress.Step("starting %d machines: a control plane and %d nodes", s.state.Options.Nodes+1, s.state.Options.Nodes)
	hub := machine.Port{Addresses: s.state.Options.addresses(controlPlaneNumber)}
	var err error
	hub.Machine, err = s.machine(ctx, manifest.ControlPlaneName, func(m machine.Machine) { s.state.ControlPlane = m })
	if err != nil {
		return err
	}
	var ports []machine.Port
	for i := range s.state.Options.Nodes {
		port := machine.Port{Addresses: s.state.Options.addresses(controlPlaneNumber + 1 + i)}
		name := fmt.Sprintf("node%d", i+1)
		s.state.Nodes = append(s.state.Nodes, Node{Name: name, Addresses: addrs(port.Addresses)})
		port.Machine, err = s.machine(ctx, name, func(m machine.Machine) { s.state.Nodes[i].Machine = m })
		if err != nil {
			return err
		}
		ports = append(ports, port)
	}
	return machine.Wire(hub, ports)
}

func (s *starter) machine(ctx context.Context, name string, note func(machine.Machine)) (machine.Machine, error) {
	logs := filepath.Join(s.dirs.logs(), name)
	m, err := machine.Start(ctx, machine.Config{
		StateDir: s.dirs.State,
		Name:     name,
		LogDir:   logs,
		Init:     s.programs.bin["machine-init"],
		Cgroup:   filepath.Join(s.dirs.cgroupRoot(), name),
		Path:     s.programs.path,
	}, func(m machine.Machine) error {
		note(m)
		return s.state.write(s.dirs.State)
	})
	if err != nil && ctx.Err() == nil {
		failed := part{machine: m, process: manifest.Process{Name: machine.SetupName}}
		return m, s.launcher.failure(failed, err)
	}
	return m, err
}

// configure creates the cluster's secrets and writes its configuration files.
func (s *starter) configure(context.Context) error {
	opts := s.state.Options
	s.cluster = manifest.Cluster{
		StateDir:       s.dirs.State,
		Interface:      machine.Interface,
		PodCIDRs:       opts.PodCIDRs(),
		ServiceCIDRs:   opts.ServiceCIDRs(),
		ProxyMode:      opts.ProxyMode,
		FlannelBackend: opts.FlannelBackend,
		Bin:            s.programs.bin,
		CNIBin:         s.programs.cni,
	}
	// The API server's certificate is for its own addresses and its Service's, which are the first of the ranges.
	server := addrs(opts.addresses(controlPlaneNumber))
	s.cluster.ControlPlane = server[0]
	for _, r := range opts.ranges() {
		server = append(server, nth(r.serviceCIDR, 1), r.loopback)
	}
	var err error
	s.cluster.Credentials, err = manifest.NewCredentials(time.Now(), server...)
	if err != nil {
		return err
	}
	files, err := s.cluster.ControlPlaneFiles()
	if err != nil {
		return err
	}
	for _, n := range s.state.Nodes {
		more, err := s.cluster.NodeFiles(manifestNode(n))
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	return writeFiles(files)
}

func manifestNode(n Node) manifest.Node { return manifest.Node{Name: n.Name, Addresses: n.Addresses} }

func writeFiles(files []manifest.File) error {
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if f.Secret {
			mode = 0o600
		}
		if err := os.WriteFile(f.Path, f.Data, mode); err != nil {
			return err
		}
	}
	return nil
}

// storeAndRuntimes starts what needs nothing but a machine: etcd, and on each node containerd with its images.
// The API server follows etcd at once, since it is the slowest to start.
func (s *starter) storeAndRuntimes(ctx context.Context) error {
	s.progress.Step("starting etcd, kube-apiserver, and containerd on each node")
	archive := filepath.Join(s.dirs.State, "images.tar")
	if err := writeImages(ctx, archive, s.programs.bin); err != nil {
		return fmt.Errorf("images: %w", err)
	}
	api, err := s.api()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		cp := s.state.ControlPlane
		health := fmt.Sprintf("http://127.0.0.1:%d/health", manifest.EtcdPort)
		if err := s.launcher.launch(ctx, part{cp, s.cluster.Etcd(), httpReady(cp, health)}); err != nil {
			return err
		}
		return s.launcher.launch(ctx, part{cp, s.cluster.APIServer(), apiReady(api)})
	})
	for _, n := range s.state.Nodes {
		g.Go(func() error {
			ready := socketReady(n.Machine, "/run/containerd/containerd.sock")
			p := part{n.Machine, s.cluster.Containerd(manifestNode(n)), ready}
			if err := s.launcher.launch(ctx, p); err != nil {
				return err
			}
			return s.launcher.importImages(ctx, n.Machine, s.programs.bin["ctr"], archive)
		})
	}
	return g.Wait()
}

// api returns a client of the cluster that is being started.
func (s *starter) api() (kubernetes.Interface, error) {
	cfg, err := s.restConfig()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}

func (s *starter) restConfig() (*rest.Config, error) {
	return newCluster(s.dirs, s.state).RESTConfig()
}

// nodes starts what needs the API server: the rest of the control plane, and what turns the machines into nodes. It
// returns when all of it works.
func (s *starter) nodes(ctx context.Context) error {
	s.progress.Step("starting kube-controller-manager and kube-scheduler, kubelet, kube-proxy and flanneld on each node")
	api, err := s.api()
	if err != nil {
		return err
	}
	cp := s.state.ControlPlane
	manager := part{cp, s.cluster.ControllerManager(), serviceAccountReady(api)}
	schedulerHealth := fmt.Sprintf("https://127.0.0.1:%d/healthz", manifest.SchedulerPort)
	scheduler := part{cp, s.cluster.Scheduler(), httpReady(cp, schedulerHealth)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.launcher.launch(ctx, manager, scheduler) })
	for _, n := range s.state.Nodes {
		node := manifestNode(n)
		proxyHealth := fmt.Sprintf("http://127.0.0.1:%d/healthz", manifest.ProxyHealthPort)
		kubelet := part{n.Machine, s.cluster.Kubelet(node), nodeReady(api, n)}
		proxy := part{n.Machine, s.cluster.Proxy(node), httpReady(n.Machine, proxyHealth)}
		g.Go(func() error { return s.launcher.launch(ctx, kubelet, proxy) })
		g.Go(func() error {
			// flanneld exits if the controller manager has not yet given the node a range.
			given := part{cp, manager.process, rangeReady(api, n)}
			if err := s.launcher.await(ctx, given); err != nil {
				return err
			}
			flannel := part{n.Machine, s.cluster.Flannel(node), subnetReady(n.Machine)}
			return s.launcher.launch(ctx, flannel)
		})
	}
	return g.Wait()
}
