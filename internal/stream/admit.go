package stream

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/names"
)

// Check refuses what can be refused without knowing the client: a method other than GET, a foreign
// host or origin, and everything during and after Drain. If it returns false, it has answered the
// request.
func (c *Core[T]) Check(w http.ResponseWriter, r *http.Request) bool {
	refusal := c.guard.check(r)
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refusal = &Refusal{Status: http.StatusMethodNotAllowed}
	case refusal == nil && c.IsShut():
		refusal = errDraining
	}
	if refusal != nil {
		c.Refuse(w, r, refusal)
	}
	return refusal == nil
}

// Trusts reports whether an origin is one of Origins.
func (c *Core[T]) Trusts(origin string) bool { return slices.Contains(c.guard.trusted, origin) }

// Refuse answers a request that failed with err. If err is not meant as an answer, it is logged,
// and the answer is 500.
func (c *Core[T]) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal := refusalOf(err)
	if refusal == nil {
		c.Fail("request failed", AboutOf(r), err)
		refusal = &Refusal{Status: http.StatusInternalServerError}
	}
	c.tellRefused(AboutOf(r), refusal.Status)
	if c.Answer == nil || !c.Answer(w, r, refusal) {
		refusal.ServeHTTP(w, r)
	}
}

func (c *Core[T]) askAdmit(r *http.Request) (t Ticket, err error) {
	defer RecoverAs(&err)
	return c.Admit(r)
}

// A Wish is a client's request to resume.
type Wish struct {
	After broadcast.Position
	Given bool // the client asked for something, be it a position or not
}

// WishOf parses a wish. A text that is not a position is a wish that cannot be granted.
func WishOf(text string) Wish {
	w := Wish{Given: text != ""}
	_ = w.After.UnmarshalText([]byte(text)) // remains none
	return w
}

// Subscribe calls Admit, enters the doors, and makes the subscription. If it returns nil, it has
// answered the request; otherwise the caller must call Leave. The doors are entered after Admit, so
// that an Admit that hangs does not hold up Drain.
func (c *Core[T]) Subscribe(
	w http.ResponseWriter, r *http.Request, wish Wish,
) (t Ticket, sub *broadcast.Subscriber[T]) {
	t, err := c.askAdmit(r)
	if errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler) // which asks net/http to cut the connection
	}
	if err != nil {
		c.Refuse(w, r, err)
		return t, nil
	}
	if c.EnterOrRefuse(w, r) != nil {
		c.End(t, AboutOf(r))
		return t, nil
	}
	defer func() {
		if sub == nil { // refused, or a function of the service has ended the goroutine
			defer c.Leave()
			c.End(t, AboutOf(r))
		}
	}()
	if sub, err = c.subscribe(t, wish); err != nil {
		c.Refuse(w, r, err)
	}
	return t, sub
}

// End calls Ended of a ticket, and logs its panic.
func (c *Core[T]) End(t Ticket, about About) {
	if t.Ended != nil {
		defer c.survive("Ended", about)
		t.Ended()
	}
}

func (c *Core[T]) subscribe(t Ticket, wish Wish) (sub *broadcast.Subscriber[T], err error) {
	defer RecoverAs(&err)
	if problem := problemOf(t); problem != "" {
		return nil, &Refusal{Status: http.StatusBadRequest, Text: problem}
	}
	options := append([]broadcast.SubscribeOption{
		broadcast.Resume(wish.After), broadcast.Replay(c.Replay),
	}, t.Subscribe...)
	sub, err = c.subscribeWith(t, options)
	if errors.Is(err, broadcast.ErrInvalid) {
		err = fmt.Errorf("%v", err) // an option of the service: the client has done nothing wrong
	}
	return sub, err
}

// problemOf returns what is wrong with the names of a ticket, which may come from the client.
func problemOf(t Ticket) string {
	problem := names.Problem("chat", t.Chat)
	if problem == "" && t.Device != "" {
		problem = names.Problem("device", t.Device)
	}
	return problem
}

func (c *Core[T]) subscribeWith(
	t Ticket, options []broadcast.SubscribeOption,
) (*broadcast.Subscriber[T], error) {
	if t.Device == "" {
		return c.broker.SubscribeAnonymous(t.Chat, options...)
	}
	return c.broker.Subscribe(t.Chat, t.Device, options...)
}

// EnterOrRefuse enters the doors. If they are shut, it answers the request and returns the reason.
func (c *Core[T]) EnterOrRefuse(w http.ResponseWriter, r *http.Request) error {
	if c.Enter() {
		return nil
	}
	c.Refuse(w, r, errDraining)
	return errDraining
}

// An About identifies a request in the log.
type About struct{ method, path, remote string }

// AboutOf returns what identifies a request.
func AboutOf(r *http.Request) About { return About{r.Method, r.URL.Path, r.RemoteAddr} }

// Fail logs an unexpected error. Attributes are pairs, as in slog.
func (c *Core[T]) Fail(text string, about About, err error, attributes ...any) {
	attributes = append(attributes,
		"method", about.method, "path", about.path, "remote", about.remote, "err", err)
	if p := (*PanicError)(nil); errors.As(err, &p) {
		attributes = append(attributes, "stack", string(p.Stack))
	}
	c.Logger.Error(text, attributes...)
}

// RecoverAs turns a panic into a [*PanicError]. It must be deferred.
func RecoverAs(err *error) {
	if p := recover(); p != nil {
		*err = &PanicError{p, debug.Stack()}
	}
}
