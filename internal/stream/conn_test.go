package stream

import (
	"crypto/tls"
	"net"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Promise 89: also over TLS, where closing writes something.
func TestCutDoesNotWaitForAClientThatDoesNotRead(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	certificates := server.TLS.Certificates
	server.Close()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		secure := tls.Server(ours, &tls.Config{Certificates: certificates, SessionTicketsDisabled: true})
		shaken := make(chan error, 1)
		go func() { shaken <- tls.Client(theirs, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
		require.NoError(t, secure.Handshake())
		require.NoError(t, <-shaken)
		began := time.Now()
		NewConn(secure, nil, 0, time.Second, 0, nil).Cut()
		require.Zero(t, time.Since(began))
	})
}
