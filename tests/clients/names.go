// Asks Go's resolver for names: `host:` and `srv:` and `txt:` and `reverse:`. GODEBUG=netdns=go or netdns=cgo chooses
// which resolver that is. With -server ADDRESS:PORT the Go resolver asks that server in place of resolv.conf's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"sort"
	"strings"
	"time"
)

func ask(resolver *net.Resolver, kind, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	switch kind {
	case "host":
		return resolver.LookupHost(ctx, name)
	case "txt":
		return resolver.LookupTXT(ctx, name)
	case "reverse":
		return resolver.LookupAddr(ctx, name)
	case "srv":
		_, all, err := resolver.LookupSRV(ctx, "", "", name)
		var found []string
		for _, one := range all {
			found = append(found, fmt.Sprintf("%d,%d,%d,%s", one.Priority, one.Weight, one.Port, one.Target))
		}
		return found, err
	}
	return nil, errors.New("no such kind")
}

func main() {
	server := flag.String("server", "", "")
	flag.Parse()
	resolver := net.DefaultResolver
	if *server != "" {
		resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, *server)
		}}
	}
	for _, word := range flag.Args() {
		kind, name, _ := strings.Cut(word, ":")
		found, err := ask(resolver, kind, name)
		sort.Strings(found)
		said := strings.Join(found, " ")
		var problem *net.DNSError
		switch {
		case errors.As(err, &problem) && problem.IsNotFound:
			said = "-(not found)"
		case err != nil:
			said = fmt.Sprintf("-(%v)", err)
		case len(found) > 10:
			said = fmt.Sprint(len(found))
		}
		fmt.Println(word, said)
	}
}
