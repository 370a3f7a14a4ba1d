package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Client asks probes.
type Client struct {
	http *http.Client
}

// NewClient returns a client whose connections are opened by dial, such as from inside a node.
func NewClient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Client {
	// Each question gets a new connection: an older one may have been made under other policies.
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Ask has the probe at host probe the targets and returns a result for each, in the same order.
func (c *Client) Ask(ctx context.Context, host string, targets []Target) ([]Result, error) {
	body, err := json.Marshal(Question{Targets: targets})
	if err != nil {
		return nil, err
	}
	url := "http://" + net.JoinHostPort(host, strconv.Itoa(ControlPort)) + Path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask probe %s: %w", host, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return nil, fmt.Errorf("ask probe %s: %s: %s", host, res.Status, strings.TrimSpace(string(text)))
	}
	var a Answer
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		return nil, fmt.Errorf("ask probe %s: %w", host, err)
	}
	if len(a.Results) != len(targets) {
		return nil, fmt.Errorf("ask probe %s: %d results for %d targets", host, len(a.Results), len(targets))
	}
	return a.Results, nil
}
