package broadcast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fbd86cad/broadcast/engine"
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

// brokerConfig is the result of the options of New.
type brokerConfig struct {
	chat           chatConfig                // defaults for every chat
	perChat        func(string) []ChatOption // nil without WithChat
	publishTimeout time.Duration
	cleanInterval  time.Duration
	maxChats       int
	logger         *slog.Logger  // nil: nothing is logged
	engine         engine.Engine // nil: messages stay in the process
	codec          any           // codec[T]; nil without WithCodec
	away           Away
	problems       []error
}

// chatConfig is the result of the options of a chat, on top of the broker's defaults.
type chatConfig struct {
	subscription   subscriptionConfig // defaults for every Subscribe
	idle           time.Duration
	historySize    int
	historyAge     time.Duration // 0: no limit
	leaveGrace     time.Duration
	maxSubscribers int
	problems       []error
}

// subscriptionConfig is the result of the options of Subscribe, on top of the chat's defaults.
type subscriptionConfig struct {
	buffer       int
	sampling     Sampling
	sampler      any            // func(Backlog[T], T) int; nil without WithSampler
	stallTimeout *time.Duration // nil: the default of the strategy
	patience     time.Duration
	until        context.Context
	resume       Position
	presence     bool
	replay       int // number of messages, or noReplay
	problems     []error
}

func defaultConfig() brokerConfig {
	return brokerConfig{
		chat: chatConfig{
			subscription: subscriptionConfig{
				buffer: defaultBuffer, patience: defaultPatience, replay: noReplay,
			},
			idle: defaultChatIdle,
		},
		publishTimeout: defaultPublishTimeout,
		cleanInterval:  defaultCleanInterval,
	}
}

// brokerOption is an Option only.
type brokerOption func(*brokerConfig)

func (o brokerOption) applyBroker(c *brokerConfig) { o(c) }

// chatOption is a ChatOption only.
type chatOption func(*chatConfig)

func (o chatOption) applyBroker(c *brokerConfig) { o(&c.chat) }
func (o chatOption) applyChat(c *chatConfig)     { o(c) }

// subscribeOption is a SubscribeOption only.
type subscribeOption func(*subscriptionConfig)

func (o subscribeOption) applySubscription(c *subscriptionConfig) { o(c) }

// sharedOption is a SharedOption.
type sharedOption func(*subscriptionConfig)

func (o sharedOption) applyBroker(c *brokerConfig)             { o(&c.chat.subscription) }
func (o sharedOption) applyChat(c *chatConfig)                 { o(&c.subscription) }
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
	c.problems = append(c.problems, checkChat[T](&c, &c.chat)...)
	c.problems = append(c.problems, checkCodec[T](c.codec)...)
	return c, invalid(c.problems)
}

// chatConfigOf applies and checks the options that WithChat has for a chat. With an error it
// returns the defaults. It runs user code.
func chatConfigOf[T any](broker *brokerConfig, name string) (*chatConfig, error) {
	if broker.perChat == nil {
		return &broker.chat, nil
	}
	c := broker.chat
	for i, o := range broker.perChat(name) {
		if o == nil {
			c.problems = append(c.problems, fmt.Errorf("option %d is nil", i))
			continue
		}
		o.applyChat(&c)
	}
	if problems := checkChat[T](broker, &c); len(problems) > 0 {
		return &broker.chat, invalidf("options of chat %q: %w", cut(name), errors.Join(problems...))
	}
	return &c, nil
}

// checkChat returns what is wrong with the options of a chat.
func checkChat[T any](broker *brokerConfig, c *chatConfig) []error {
	problems := append(c.problems, c.subscription.problems...)
	problems = append(problems, broker.checkPatience(c.subscription.patience)...)
	return append(problems, checkSampler[T](c.subscription.sampler)...)
}

// subscriptionConfigOf applies and checks the options of one Subscribe.
func subscriptionConfigOf[T any](
	broker *brokerConfig, chat *chatConfig, opts []SubscribeOption,
) (subscriptionConfig, error) {
	c := chat.subscription
	for i, o := range opts {
		if o == nil {
			c.problems = append(c.problems, fmt.Errorf("option %d is nil", i))
			continue
		}
		o.applySubscription(&c)
	}
	c.problems = append(c.problems, broker.checkPatience(c.patience)...)
	c.problems = append(c.problems, checkSampler[T](c.sampler)...)
	return c, invalid(c.problems)
}

// checkPatience returns an error if publishers would time out before the patience is over.
func (c *brokerConfig) checkPatience(patience time.Duration) []error {
	if c.publishTimeout == 0 || patience < c.publishTimeout {
		return nil
	}
	return []error{fmt.Errorf(
		"publish timeout %v is not longer than patience %v", c.publishTimeout, patience)}
}

// checkSampler returns an error if the sampler is for another message type.
func checkSampler[T any](sampler any) []error {
	if sampler == nil {
		return nil
	}
	if _, ok := sampler.(func(Backlog[T], T) int); !ok {
		return []error{fmt.Errorf("sampler %T is not for messages of type %v", sampler, typeName[T]())}
	}
	return nil
}

// checkCodec returns an error if the codec is for another message type.
func checkCodec[T any](c any) []error {
	if c == nil {
		return nil
	}
	if _, ok := c.(codec[T]); !ok {
		return []error{fmt.Errorf("codec is not for messages of type %v", typeName[T]())}
	}
	return nil
}

func typeName[T any]() string {
	return fmt.Sprintf("%T", (*T)(nil))[1:]
}

// invalid joins problems into one ErrInvalid. It returns nil if there are none.
func invalid(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalid, errors.Join(problems...))
}

// stall returns the stall timeout in effect; 0 means never.
func (c *subscriptionConfig) stall() time.Duration {
	switch {
	case c.stallTimeout != nil:
		return *c.stallTimeout
	case c.sampler == nil && c.sampling == Block:
		return defaultBlockStall
	}
	return 0
}

// slack is how late the cleaner may visit a chat in which something is due. It is also how long
// after a message the cleaner looks at readers with a stall timeout.
func (c *brokerConfig) slack() time.Duration { return max(c.cleanInterval/4, 1) }
