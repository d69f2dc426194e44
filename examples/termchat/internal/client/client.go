package client

import (
	"context"
	"errors"
)

// Options say where a client goes and who it is there.
type Options struct {
	Addr string // host:port of the server
	Room string
	Name string
}

// A Client is somebody in a room.
type Client struct {
	events chan Event
}

var errNotYet = errors.New("not connected")

// New connects.
func New(Options) (*Client, error) { return nil, errNotYet }

// Events is what happens.
func (c *Client) Events() <-chan Event { return c.events }

// Send writes text to the current room.
func (c *Client) Send(context.Context, string) error { return errNotYet }

// Join goes to another room.
func (c *Client) Join(context.Context, string) error { return errNotYet }

// Room is where the client is.
func (c *Client) Room() string { return "" }

// Upload sends a file to the current room.
func (c *Client) Upload(context.Context, string, func(sent, total int64)) (File, error) {
	return File{}, errNotYet
}

// Download fetches a file.
func (c *Client) Download(context.Context, string, string, func(got, total int64)) error {
	return errNotYet
}

// Close leaves.
func (c *Client) Close() error { return nil }
