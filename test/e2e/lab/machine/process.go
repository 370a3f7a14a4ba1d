package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Ref identifies a process for good. A PID is reused, but not together with the same start time.
type Ref struct {
	PID int `json:"pid"`
	// StartTime is in clock ticks since the machine was booted.
	StartTime uint64 `json:"startTime"`
	// BootID is the kernel's identifier of that boot.
	BootID string `json:"bootID"`
}

// RefOf returns the Ref of a process that exists now.
func RefOf(pid int) (Ref, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Ref{}, err
	}
	_, start, err := parseStat(string(stat))
	if err != nil {
		return Ref{}, fmt.Errorf("process %d: %w", pid, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Ref{}, err
	}
	return Ref{PID: pid, StartTime: start, BootID: strings.TrimSpace(string(boot))}, nil
}

// Alive reports whether exactly that process runs. A zombie does not run.
func (r Ref) Alive() bool {
	now, err := RefOf(r.PID)
	if err != nil || now != r {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.PID))
	if err != nil {
		return false
	}
	state, _, err := parseStat(string(stat))
	return err == nil && state != 'Z' && state != 'X'
}

// Kill kills the process and waits until it is gone. It is not an error if the process does not run. It never kills
// another process with the same PID.
func (r Ref) Kill(ctx context.Context) error {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", r.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// The descriptor refers to one process. If that is the right one, the signal cannot reach another.
	if !r.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", r.PID, err)
	}
	for r.Alive() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", r.PID, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// Marker returns the environment variable, as NAME=VALUE, that marks a lab's processes.
func Marker(stateDir string) string { return "NETPOL_LAB_OF=" + stateDir }

// Marked reports whether a process that exists now has the lab's marker in its environment.
func Marked(pid int, stateDir string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if string(v) == Marker(stateDir) {
			return true
		}
	}
	return false
}

// parseStat reads the state and the start time from /proc/PID/stat.
func parseStat(stat string) (state byte, start uint64, err error) {
	// The second field is the program's name in parentheses and may contain anything, parentheses included.
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, errors.New("stat has no program name")
	}
	// After the name come field 3, the state, and the others. The start time is field 22.
	fields := strings.Fields(stat[end+1:])
	const stateAt, startAt = 0, 22 - 3
	if len(fields) <= startAt {
		return 0, 0, errors.New("stat is too short")
	}
	start, err = strconv.ParseUint(fields[startAt], 10, 64)
	return fields[stateAt][0], start, err
}

// Processes returns the PIDs of all processes.
func Processes() ([]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, d := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(d)); err == nil {
			all = append(all, pid)
		}
	}
	return all, nil
}

// cmdline returns the arguments of a process, or nil if it is gone or has none.
func cmdline(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(data) == 0 {
		return nil
	}
	var args []string
	for arg := range bytes.SplitSeq(bytes.TrimSuffix(data, []byte{0}), []byte{0}) {
		args = append(args, string(arg))
	}
	return args
}
