import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Hashtable;
import java.util.List;
import javax.naming.Context;
import javax.naming.NamingException;
import javax.naming.directory.Attribute;
import javax.naming.directory.InitialDirContext;

/** Asks Java for names: {@code host:} through InetAddress, {@code SRV:} and other types through JNDI's DNS provider. */
public class Names {
    private static List<String> ask(String server, String kind, String name) throws Exception {
        List<String> found = new ArrayList<>();
        if (kind.equals("host")) {
            for (InetAddress address : InetAddress.getAllByName(name)) {
                found.add(address.getHostAddress());
            }
            return found;
        }
        Hashtable<String, String> settings = new Hashtable<>();
        settings.put(Context.INITIAL_CONTEXT_FACTORY, "com.sun.jndi.dns.DnsContextFactory");
        settings.put(Context.PROVIDER_URL, server);
        settings.put("com.sun.jndi.dns.timeout.initial", "2000");
        settings.put("com.sun.jndi.dns.timeout.retries", "2");
        Attribute all = new InitialDirContext(settings).getAttributes(name, new String[] {kind}).get(kind);
        for (int at = 0; all != null && at < all.size(); at++) {
            found.add(all.get(at).toString().replace(' ', ','));
        }
        return found;
    }

    public static void main(String[] words) {
        for (String word : List.of(words).subList(1, words.length)) {
            int colon = word.indexOf(':');
            String said;
            try {
                List<String> found = ask(words[0], word.substring(0, colon), word.substring(colon + 1));
                Collections.sort(found);
                said = found.isEmpty() ? "-(nothing)" : found.size() > 10 ? "" + found.size() : String.join(" ", found);
            } catch (UnknownHostException | NamingException problem) {
                said = "-(" + problem.getClass().getSimpleName() + ")";
            } catch (Exception problem) {
                said = "-(" + problem + ")";
            }
            System.out.println(word + " " + said);
        }
    }
}
