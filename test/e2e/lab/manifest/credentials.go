package manifest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// lifetime is how long a lab's certificates are valid; a lab lives for hours.
const lifetime = 30 * 24 * time.Hour

// Credentials are the secrets of one cluster, PEM encoded but for the token.
type Credentials struct {
	// CA is the certificate that signs the API server's.
	CA []byte
	// Cert and Key are the API server's.
	Cert, Key []byte
	// ServiceAccountKey signs service accounts' tokens.
	ServiceAccountKey []byte
	// Token is the administrator's, a member of system:masters.
	Token string
}

// NewCredentials creates the secrets of a cluster whose API server has the addresses.
func NewCredentials(now time.Time, addresses ...netip.Addr) (Credentials, error) {
	ca, caKey, caPEM, err := newCA(now)
	if err != nil {
		return Credentials{}, fmt.Errorf("certificate authority: %w", err)
	}
	key, keyPEM, err := newKey()
	if err != nil {
		return Credentials{}, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"},
	}
	for _, a := range addresses {
		leaf.IPAddresses = append(leaf.IPAddresses, net.IP(a.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return Credentials{}, fmt.Errorf("certificate of the API server: %w", err)
	}
	_, saPEM, err := newKey()
	if err != nil {
		return Credentials{}, err
	}
	token := make([]byte, 16)
	if _, err := rand.Read(token); err != nil {
		return Credentials{}, err
	}
	return Credentials{
		CA:                caPEM,
		Cert:              pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:               keyPEM,
		ServiceAccountKey: saPEM,
		Token:             hex.EncodeToString(token),
	}, nil
}

func newCA(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, []byte, error) {
	key, _, err := newKey()
	if err != nil {
		return nil, nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "netpol-lab"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
