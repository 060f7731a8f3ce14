/*
 * Functions that exist only as `static inline` in DPDK's headers, given a symbol.
 *
 * Each is called once per burst, or off the fast path, so the call costs a fraction of a cycle per packet. What is read
 * per packet (the mbuf's fields) is not here but mirrored in src/mbuf.rs; the assertions at the end tie the two together.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

uint16_t sluice_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t sluice_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

/*
 * As rte_pktmbuf_pool_create, but with the buffers back to back wherever addresses are virtual.
 *
 * By default no buffer crosses a page, which without hugepages puts one in each 4 KB page. net_af_xdp takes the pool for
 * `count` buffers back to back and registers only that much with the kernel: what lies behind (two of five buffers of
 * the usual size) is silently refused in both directions, and reception stops once all the others are in use.
 * Contiguous virtual addresses are contiguous for devices as well if their addresses are virtual, so nothing is lost.
 *
 * Returns NULL with rte_errno set.
 */
struct rte_mempool *sluice_pool_create(const char *name, unsigned int count, unsigned int cache, uint16_t data_room,
				       int socket)
{
	struct rte_pktmbuf_pool_private private = { .mbuf_data_room_size = data_room, .mbuf_priv_size = 0 };
	unsigned int flags = rte_eal_iova_mode() == RTE_IOVA_VA ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0;
	struct rte_mempool *pool = rte_mempool_create_empty(name, count, sizeof(struct rte_mbuf) + data_room, cache,
							    sizeof(private), socket, flags);
	int rc;

	if (pool == NULL)
		return NULL;
	rc = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	if (rc == 0) {
		rte_pktmbuf_pool_init(pool, &private);
		rc = rte_mempool_populate_default(pool);
	}
	if (rc < 0) {
		rte_mempool_free(pool);
		rte_errno = -rc;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

/* Whether the buffers lie back to back in one area of memory. */
int sluice_pool_packed(const struct rte_mempool *pool)
{
	return pool->nb_mem_chunks == 1 && (pool->flags & RTE_MEMPOOL_F_NO_IOVA_CONTIG) != 0;
}

struct rte_mbuf *sluice_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

/* All `n` or none; 0 is success. */
int sluice_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, n);
}

void sluice_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

/* Chains and mixed pools are handled; mbufs of one pool go back in one operation. */
void sluice_mbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int n)
{
	rte_pktmbuf_free_bulk(mbufs, n);
}

int sluice_errno(void)
{
	return rte_errno;
}

unsigned int sluice_lcore_id(void)
{
	return rte_lcore_id();
}

/* struct rte_eth_link changes shape between releases (bitfields, a union since 24.11), so it stays on this side. */
struct sluice_link {
	uint32_t speed_mbps;
	uint8_t full_duplex;
	uint8_t up;
};

int sluice_link_get(uint16_t port, struct sluice_link *out)
{
	struct rte_eth_link link = { 0 };
	int rc = rte_eth_link_get_nowait(port, &link);

	if (rc != 0)
		return rc;
	out->speed_mbps = link.link_speed;
	out->full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	out->up = link.link_status == RTE_ETH_LINK_UP;
	return 0;
}

/* A stdio stream whose writes go to `sink`: DPDK logs to a FILE and nothing else. */
FILE *sluice_log_stream(ssize_t (*sink)(void *, const char *, size_t))
{
	cookie_io_functions_t functions = { .write = sink };
	FILE *stream = fopencookie(NULL, "w", functions);

	if (stream != NULL)
		setvbuf(stream, NULL, _IOLBF, 0);
	return stream;
}

/* The layout that src/mbuf.rs mirrors and the flag values that Rust repeats. A release that moves one does not build. */
#define AT(field, offset) _Static_assert(offsetof(struct rte_mbuf, field) == (offset), "rte_mbuf." #field " has moved")
AT(buf_addr, 0);
AT(data_off, 16);
AT(refcnt, 18);
AT(nb_segs, 20);
AT(port, 22);
AT(ol_flags, 24);
AT(packet_type, 32);
AT(pkt_len, 36);
AT(data_len, 40);
AT(vlan_tci, 42);
AT(hash.rss, 44);
AT(vlan_tci_outer, 52);
AT(buf_len, 54);
AT(pool, 56);
_Static_assert(sizeof(struct rte_mbuf) == 128, "rte_mbuf has grown");
_Static_assert(RTE_MBUF_F_RX_RSS_HASH == (UINT64_C(1) << 1), "RTE_MBUF_F_RX_RSS_HASH has moved");
_Static_assert(RTE_ETH_RX_OFFLOAD_RSS_HASH == (UINT64_C(1) << 19), "RTE_ETH_RX_OFFLOAD_RSS_HASH has moved");
_Static_assert(LCORE_ID_ANY == UINT32_MAX, "LCORE_ID_ANY has changed");

#define FUNCTION(name, bit) _Static_assert(RTE_ETH_RSS_##name == (UINT64_C(1) << (bit)), "RTE_ETH_RSS_" #name " has moved")
FUNCTION(IPV4, 2);
FUNCTION(FRAG_IPV4, 3);
FUNCTION(NONFRAG_IPV4_TCP, 4);
FUNCTION(NONFRAG_IPV4_UDP, 5);
FUNCTION(NONFRAG_IPV4_OTHER, 7);
FUNCTION(IPV6, 8);
FUNCTION(FRAG_IPV6, 9);
FUNCTION(NONFRAG_IPV6_TCP, 10);
FUNCTION(NONFRAG_IPV6_UDP, 11);
FUNCTION(NONFRAG_IPV6_OTHER, 13);
FUNCTION(L3_SRC_ONLY, 63);
FUNCTION(L3_DST_ONLY, 62);
FUNCTION(L4_SRC_ONLY, 61);
FUNCTION(L4_DST_ONLY, 60);
