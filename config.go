package broadcast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Defaults of the options.
const (
	defaultBuffer         = 256
	defaultBlockStall     = 2 * time.Minute
	defaultPatience       = 10 * time.Millisecond
	defaultPublishTimeout = 5 * time.Second
	defaultCleanInterval  = time.Minute
	defaultChatIdle       = 5 * time.Minute

	maxBuffer = 1 << 20
)

// brokerConfig is what the options of New add up to.
type brokerConfig struct {
	subscription   subscriptionConfig // defaults for every Subscribe
	patience       time.Duration
	publishTimeout time.Duration
	cleanInterval  time.Duration
	chatIdle       time.Duration
	historySize    int
	historyAge     time.Duration // 0: any
	leaveGrace     time.Duration
	maxChats       int
	maxSubscribers int
	logger         *slog.Logger // nil: nothing is logged
	problems       []error
}

// subscriptionConfig is what the options of one Subscribe add up to, on top of the broker's.
type subscriptionConfig struct {
	buffer       int
	sampling     Sampling
	sampler      any            // func(Backlog[T], T) int, or nil: sampling decides
	stallTimeout *time.Duration // nil: the default of the strategy
	until        context.Context
	resume       Position
	presence     bool
	replay       int // noReplay, or how many messages
	problems     []error
}

func defaultConfig() brokerConfig {
	return brokerConfig{
		subscription:   subscriptionConfig{buffer: defaultBuffer, replay: noReplay},
		patience:       defaultPatience,
		publishTimeout: defaultPublishTimeout,
		cleanInterval:  defaultCleanInterval,
		chatIdle:       defaultChatIdle,
	}
}

// brokerOption is an Option and nothing else.
type brokerOption func(*brokerConfig)

func (o brokerOption) applyBroker(c *brokerConfig) { o(c) }

// subscribeOption is a SubscribeOption and nothing else.
type subscribeOption func(*subscriptionConfig)

func (o subscribeOption) applySubscription(c *subscriptionConfig) { o(c) }

// sharedOption is a SharedOption.
type sharedOption func(*subscriptionConfig)

func (o sharedOption) applyBroker(c *brokerConfig)             { o(&c.subscription) }
func (o sharedOption) applySubscription(c *subscriptionConfig) { o(c) }

// brokerConfigOf applies and checks the options of New.
func brokerConfigOf[T any](opts []Option) (brokerConfig, error) {
	c := defaultConfig()
	for i, o := range opts {
		if o == nil {
			c.problems = append(c.problems, fmt.Errorf("option %d is nil", i))
			continue
		}
		o.applyBroker(&c)
	}
	if c.publishTimeout != 0 && c.publishTimeout <= c.patience {
		c.problems = append(c.problems, fmt.Errorf("publish timeout %v is not longer than the patience %v", c.publishTimeout, c.patience))
	}
	c.problems = append(c.problems, c.subscription.problems...)
	c.problems = append(c.problems, checkSampler[T](c.subscription.sampler)...)
	return c, invalid(c.problems)
}

// subscriptionConfigOf applies and checks the options of one Subscribe.
func subscriptionConfigOf[T any](defaults subscriptionConfig, opts []SubscribeOption) (subscriptionConfig, error) {
	c := defaults
	for i, o := range opts {
		if o == nil {
			c.problems = append(c.problems, fmt.Errorf("option %d is nil", i))
			continue
		}
		o.applySubscription(&c)
	}
	c.problems = append(c.problems, checkSampler[T](c.sampler)...)
	return c, invalid(c.problems)
}

// checkSampler reports a sampler that was made for another message type.
func checkSampler[T any](sampler any) []error {
	if sampler == nil {
		return nil
	}
	if _, ok := sampler.(func(Backlog[T], T) int); !ok {
		return []error{fmt.Errorf("sampler %T is not for messages of type %v", sampler, typeName[T]())}
	}
	return nil
}

func typeName[T any]() string {
	return fmt.Sprintf("%T", (*T)(nil))[1:]
}

// invalid joins problems to one ErrInvalid that lists them all, or returns nil if there are none.
func invalid(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalid, errors.Join(problems...))
}

// stall returns the stall timeout that is in force, 0 for never.
func (c *subscriptionConfig) stall() time.Duration {
	switch {
	case c.stallTimeout != nil:
		return *c.stallTimeout
	case c.sampler == nil && c.sampling == Block:
		return defaultBlockStall
	}
	return 0
}
