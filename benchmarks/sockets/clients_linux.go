package sockets

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"time"
)

// Supported says that this system has what the clients need.
const Supported = true

// Clients are connections to a server, read by one goroutine with epoll: a goroutine for each
// would take several times as much of the processors that the server needs.
type Clients struct {
	poll    int
	files   []int
	streams []*stream // nil for those that never read
	events  []syscall.EpollEvent
	buffer  []byte
}

// bufferSize is how much is read at once: the burst of a client fits.
const bufferSize = 64 << 10

// NewClients returns no clients yet. Close must be called, from the same goroutine as all other
// methods.
func NewClients() (*Clients, error) {
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &Clients{
		poll: poll, events: make([]syscall.EpollEvent, 256), buffer: make([]byte, bufferSize),
	}, nil
}

// Dial adds a client. After the handshake of a WebSocket it says hello, if that is not empty.
func (c *Clients) Dial(addr string, framing Framing, hello []byte) error {
	s := &stream{framing: framing}
	fd, err := c.connect(addr, s, 0, hello)
	if err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	c.streams = append(c.streams, s)
	return syscall.EpollCtl(c.poll, syscall.EPOLL_CTL_ADD, fd,
		&syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(len(c.streams) - 1)})
}

// DialStuck adds a client that never reads after the handshake.
func (c *Clients) DialStuck(addr string, framing Framing, hello []byte) error {
	_, err := c.connect(addr, &stream{framing: framing}, 1, hello) // 1: the kernel takes its minimum
	return err
}

// connect connects, asks for the chat and waits for the answer to the handshake of a WebSocket. An
// event stream may be answered only with its first event.
func (c *Clients) connect(
	addr string, s *stream, receiveBuffer int, hello []byte,
) (fd int, err error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	c.files = append(c.files, fd)
	if receiveBuffer > 0 {
		err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
		if err != nil {
			return 0, err
		}
	}
	timeout := syscall.NsecToTimeval(int64(10 * time.Second))
	err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout)
	if err != nil {
		return 0, err
	}
	server := &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	if err := syscall.Connect(fd, server); err != nil {
		return 0, err
	}
	if err := writeAll(fd, request(addr, s.framing, len(c.files))); err != nil {
		return 0, err
	}
	for s.framing == WebSocket && !s.begun() {
		if err := c.read(fd, s); err != nil {
			return 0, err
		}
	}
	return fd, writeAll(fd, hello)
}

func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := syscall.Write(fd, p)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
		p = p[max(n, 0):]
	}
	return nil
}

// read reads once.
func (c *Clients) read(fd int, s *stream) error {
	n, err := syscall.Read(fd, c.buffer)
	switch {
	case errors.Is(err, syscall.EINTR):
		return nil
	case err != nil:
		return err
	case n == 0:
		return errors.New("the server has cut a connection")
	}
	return s.feed(c.buffer[:n])
}

// Await reads until every client has the message of that number, or nothing has come for as long
// as quiet; then it reports false. An error is a client that was cut off or got something wrong.
func (c *Clients) Await(number int64, quiet time.Duration) (all bool, err error) {
	runtime.LockOSThread() // it spends its time in system calls
	defer runtime.UnlockOSThread()
	missing := 0
	for _, s := range c.streams {
		if s.last < number {
			missing++
		}
	}
	for missing > 0 {
		came, err := c.readSome(quiet, func(before, after int64) {
			if before < number && after >= number {
				missing--
			}
		})
		if err != nil || !came {
			return false, err
		}
	}
	return true, nil
}

// ReadUntil reads what comes until a moment.
func (c *Clients) ReadUntil(end time.Time) error {
	for left := time.Until(end); left > 0; left = time.Until(end) {
		wait := max(left, time.Millisecond) // 0 would not wait
		if _, err := c.readSome(wait, func(_, _ int64) {}); err != nil {
			return err
		}
	}
	return nil
}

// readSome reads once from those to whom something has come, and tells the numbers of their latest
// messages before and after that. It reports false if nothing has come within wait.
func (c *Clients) readSome(wait time.Duration, progress func(before, after int64)) (bool, error) {
	n, err := syscall.EpollWait(c.poll, c.events, int(wait.Milliseconds()))
	if errors.Is(err, syscall.EINTR) {
		return true, nil
	}
	if err != nil || n == 0 {
		return false, err
	}
	for _, event := range c.events[:n] {
		s := c.streams[event.Fd]
		before := s.last
		if err := c.read(c.files[event.Fd], s); err != nil {
			return true, fmt.Errorf("client %d after message %d: %w", event.Fd, s.last, err)
		}
		progress(before, s.last)
	}
	return true, nil
}

// Len returns the number of clients that read.
func (c *Clients) Len() int { return len(c.streams) }

// Counts returns the sums over all clients.
func (c *Clients) Counts() (counts Counts) {
	for _, s := range c.streams {
		counts.Frames += s.frames
		counts.Bytes += s.bytes
		counts.Lost += s.lost
	}
	return counts
}

// Missing returns how many messages up to a number the clients have not got: those that are
// missing between others, and those that have not come.
func (c *Clients) Missing(number int64) (n int64) {
	for _, s := range c.streams {
		n += s.lost + max(0, number-s.last)
	}
	return n
}

// Close closes all connections.
func (c *Clients) Close() {
	for _, fd := range c.files {
		_ = syscall.Close(fd)
	}
	_ = syscall.Close(c.poll)
}
