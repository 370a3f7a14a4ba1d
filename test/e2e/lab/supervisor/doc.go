// Package supervisor is the first process of a machine of the lab: it starts the machine's processes, keeps the
// status of each, reaps orphans, and answers a client over a unix socket, with one JSON request and one JSON answer
// per connection.
//
// Its client decides what to start and stop. It never restarts a process, because a crash in the lab must not be
// hidden. It is process 1 of a PID namespace: when it ends, the kernel kills every process of the machine.
package supervisor

import "time"

// Spec says what to start.
type Spec struct {
	// Name identifies the process among those of its machine.
	Name string `json:"name"`
	// Argv is the program's path and its arguments. The path is not looked up.
	Argv []string `json:"argv"`
	// Env is the whole environment.
	Env []string `json:"env,omitempty"`
	// Dir is the working directory, "/" if empty.
	Dir string `json:"dir,omitempty"`
	// Log is the file to which standard output and error are appended.
	Log string `json:"log"`
}

// Status is what is known about a process that was started.
type Status struct {
	Spec Spec `json:"spec"`
	// PID is the process's number in the machine's PID namespace.
	PID     int       `json:"pid"`
	Running bool      `json:"running"`
	Started time.Time `json:"started"`
	// Ended is the zero time while the process runs.
	Ended time.Time `json:"ended,omitzero"`
	// ExitCode is the exit status, or 128 plus the signal's number, once the process has ended.
	ExitCode int `json:"exitCode"`
}

// operation names a request.
type operation string

const (
	opStart  operation = "start"
	opSignal operation = "signal"
	opWait   operation = "wait"
	opList   operation = "list"
)

type request struct {
	Op     operation `json:"op"`
	Spec   Spec      `json:"spec"`
	Name   string    `json:"name,omitempty"`
	Signal int       `json:"signal,omitempty"`
	// Group asks for the signal to go to the whole process group.
	Group bool `json:"group,omitempty"`
}

type response struct {
	Error    string   `json:"error,omitempty"`
	Statuses []Status `json:"statuses,omitempty"`
}
