package stream

import (
	"errors"
	"fmt"

	"github.com/fbd86cad/broadcast"
)

// Problems collects what is wrong with options. The zero Problems is empty.
type Problems []error

// Add adds a problem.
func (p *Problems) Add(format string, args ...any) {
	args = append([]any{broadcast.ErrInvalid}, args...)
	*p = append(*p, fmt.Errorf("%w: "+format, args...))
}

// Err returns nil if there are no problems, and otherwise a [broadcast.ErrInvalid] that lists all.
func (p *Problems) Err() error { return errors.Join(*p...) }

// Or returns value, or otherwise if value is zero.
func Or[V comparable](value, otherwise V) V {
	var zero V
	if value == zero {
		return otherwise
	}
	return value
}

func (p *Problems) positive(what string, value int64) {
	if value <= 0 {
		p.Add("%s is not above 0", what)
	}
}

func (p *Problems) notNegative(what string, value int64) {
	if value < 0 {
		p.Add("%s is negative", what)
	}
}
