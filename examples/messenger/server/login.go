package server

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastdebug"
	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/limit"
	"github.com/fbd86cad/broadcast/examples/internal/names"
	"github.com/fbd86cad/broadcast/examples/internal/token"
)

const appName = "messenger" // of the cookie, and the subprotocol beside a page's token

// who returns who makes a request.
func (s *Server) who(r *http.Request) (name string, err error) { return s.key.Verify(tokenOf(r)) }

// tokenOf returns the token that comes with a request: as "Authorization: Bearer TOKEN", as the
// subprotocol "bearer.TOKEN" of a WebSocket, of which a page can set no header, or as a cookie.
// What the client sends by itself wins over the cookie, which the browser adds, so that each tab
// can be somebody else.
func tokenOf(r *http.Request) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	if _, offer, ok := strings.Cut(r.Header.Get("Sec-WebSocket-Protocol"), "bearer."); ok {
		token, _, _ := strings.Cut(offer, ",")
		return strings.TrimSpace(token)
	}
	if c, err := r.Cookie(appName); err == nil {
		return c.Value
	}
	return ""
}

// allowed returns who makes a request, and about which chat. Everybody who has logged in may post
// to each chat and watch it: whom you allow less, refuse here.
func (s *Server) allowed(r *http.Request) (who, chat string, err error) {
	if who, err = s.who(r); err == nil {
		chat, err = names.Clean("chat", r.PathValue("chat"))
	}
	return who, chat, err
}

// debug answers operators, and nobody else.
func (s *Server) debug(w http.ResponseWriter, r *http.Request) error {
	who, err := s.who(r)
	if err == nil && !slices.Contains(s.cfg.Operators, who) {
		err = &broadcastws.Refusal{Status: http.StatusForbidden, Text: "this is for operators only"}
	}
	if err == nil {
		broadcastdebug.Handler(s.broker, s.sockets).ServeHTTP(w, r)
	}
	return err
}

// identity answers GET /login and POST /login.
type identity struct {
	Name  string   `json:"name"` // empty: nobody has logged in
	Token string   `json:"token,omitempty"`
	Open  bool     `json:"open"`            // anybody may log in under any name
	Nodes []string `json:"nodes,omitempty"` // see Config
}

func (s *Server) whoAmI(w http.ResponseWriter, r *http.Request) {
	name, _ := s.who(r)
	httpjson.Write(w, http.StatusOK, identity{Name: name, Open: s.cfg.Secret == "", Nodes: s.cfg.Nodes})
}

// login answers POST /login {"token":"…"} or, if anybody may log in, {"name":"ann"}.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	leave, err := s.clients.Enter(limit.Client(r, s.cfg.Proxy))
	if err != nil {
		return err
	}
	defer leave()
	open, field := s.cfg.Secret == "", "token"
	if open {
		field = "name"
	}
	given, err := readText(w, r, field)
	if err == nil && open {
		given, err = s.key.Issue(given, token.Age)
	}
	if err != nil {
		return err
	}
	name, err := s.key.Verify(given)
	if err != nil {
		return err
	}
	s.setCookie(w, r, given, int(token.Age.Seconds()))
	httpjson.Write(w, http.StatusOK, identity{Name: name, Token: given, Open: open})
	return nil
}

// logout answers POST /logout: the browser forgets the cookie. The token remains good.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	s.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

// setCookie sets a cookie that scripts cannot read and other sites cannot make the browser send.
func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, token string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: appName, Value: token, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || s.cfg.Proxy && r.Header.Get("X-Forwarded-Proto") == "https",
	})
}

// isID matches the ids that clients make up.
var isID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// admit says who may watch what at GET /chats/{chat}/socket?device=ID&after=POSITION.
func (s *Server) admit(r *http.Request) (t broadcastws.Ticket, err error) {
	who, chat, err := s.allowed(r)
	if err != nil {
		return t, err
	}
	device := r.URL.Query().Get("device")
	if !isID.MatchString(device) {
		return t, httpjson.Bad("device must be 1 to 64 letters, digits, - and _")
	}
	if t.Ended, err = s.clients.Enter(limit.Client(r, s.cfg.Proxy)); err != nil {
		return t, err
	}
	t.Chat, t.Device = chat, who+"/"+device // takes over from its own broken socket, and nobody else's
	t.Subscribe = []broadcast.SubscribeOption{broadcast.WithPresence()}
	err = s.makingRoom(r.Context(), chat, func() error {
		_, err := s.broker.Head(r.Context(), chat)
		return err
	})
	if err != nil {
		t.Ended()
	}
	return t, err
}
